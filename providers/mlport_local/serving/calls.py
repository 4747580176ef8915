"""Asking an endpoint for predictions: one pool of connections, rows to JSON, answers and errors back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as CallTimeoutError

from mlport.errors import PredictionError, SpecError
from mlport.rows import encoded
from mlport.spi import Answer, Json

CONNECTIONS = 64  # kept open for each endpoint


@dataclass(frozen=True, slots=True)
class Address:
    """Where an endpoint is and what a caller must send. The headers hold the key, so they are not shown."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


class Phone:
    """Calls endpoints, from any number of threads. Addresses are remembered until they turn out to be old.

    Args:
        ca: A PEM file of the authorities to trust; None: the system's.
    """

    def __init__(self, ca: Path | None = None) -> None:
        self._pool = urllib3.PoolManager(
            num_pools=32, maxsize=CONNECTIONS, retries=False, cert_reqs="CERT_REQUIRED", ca_certs=str(ca) if ca else None
        )
        self._known: dict[str, Address] = {}

    def close(self) -> None:
        self._pool.clear()

    def forget(self, name: str) -> None:
        """Look the address up anew at the next call."""
        self._known.pop(name, None)

    def predict(
        self,
        name: str,
        find: Callable[[str], Address],
        rows: Sequence[Json],
        *,
        deployment: str | None,
        caller_id: str | None,
        timeout: float,
    ) -> Answer:
        """One request; asked once more if the key or the address turns out to be old, for then nobody has worked on it."""
        body = body_of(rows)
        own = {"content-type": "application/json"}
        if deployment is not None:
            own["x-mlport-deployment"] = deployment
        if caller_id is not None:
            own["x-request-id"] = caller_id
        address = self._known.get(name)
        if address is not None:
            try:
                response = self._send(name, address, own, body, timeout)
                if response.status != 401:
                    return answer_of(name, response)
            except NewConnectionError:
                pass  # its router is gone or elsewhere: the look below has it brought back
        address = self._known[name] = find(name)
        try:
            return answer_of(name, self._send(name, address, own, body, timeout))
        except NewConnectionError as error:
            self.forget(name)
            raise PredictionError(
                f"endpoint {name!r} cannot be reached at {address.url}: {error}", status=503, hint="it may be starting; look at its state"
            ) from error

    def _send(self, name: str, address: Address, own: Mapping[str, str], body: bytes, timeout: float) -> urllib3.BaseHTTPResponse:
        if not address.url:
            raise PredictionError(f"endpoint {name!r} has no address yet", status=503, hint="wait until it is created")
        try:
            return self._pool.request("POST", f"{address.url}/invocations", headers={**address.headers, **own}, body=body, timeout=timeout)
        except NewConnectionError:
            raise
        except CallTimeoutError as error:
            raise PredictionError(f"endpoint {name!r} did not answer within {timeout:g} s", status=504) from error
        except HTTPError as error:
            raise PredictionError(f"endpoint {name!r} broke off: {error}", status=502) from error


def body_of(rows: Sequence[Json]) -> bytes:
    """Rows as MLflow's `dataframe_split`: columns in the order of the first row.

    NumPy's scalars and arrays, dates, times and decimals are taken; NaN and the infinities become null.

    >>> body_of([{"a": 1, "b": "x"}])
    b'{"dataframe_split":{"columns":["a","b"],"data":[[1,"x"]]}}'

    Raises:
        SpecError: a row lacks a column or has one more, or a value has no JSON form.
    """
    if not rows:
        raise SpecError("predict needs at least one row")
    columns = list(rows[0])
    known = set(columns)
    for number, row in enumerate(rows):
        if row.keys() != known:
            missing, extra = sorted(known - row.keys()), sorted(row.keys() - known)
            raise SpecError(
                f"predict: row {number} has other columns than row 0:"
                + (f" it lacks {', '.join(missing)}" if missing else "")
                + (f" it adds {', '.join(map(str, extra))}" if extra else ""),
                hint="give each row the same columns, with None for what is not known",
            )
    data = [[row[column] for column in columns] for row in rows]
    return encoded({"dataframe_split": {"columns": columns, "data": data}})


def answer_of(name: str, response: urllib3.BaseHTTPResponse) -> Answer:
    """The answer, or the error as PredictionError."""
    request_id = response.headers.get("x-request-id")
    if not 200 <= response.status < 300:
        raise PredictionError(f"endpoint {name!r}: {_message(response)}", status=response.status, request_id=request_id)
    try:
        predictions = json.loads(response.data)["predictions"]
    except (ValueError, KeyError, TypeError) as error:
        raise PredictionError(
            f"endpoint {name!r} answered with no predictions: {response.data[:200]!r}", status=response.status, request_id=request_id
        ) from error
    return Answer(predictions, request_id or "", response.headers.get("x-mlport-deployment"), response.headers.get("x-mlport-version"))


def _message(response: urllib3.BaseHTTPResponse) -> str:
    try:
        said = json.loads(response.data)
    except ValueError:
        return f"HTTP {response.status}: {response.data[:500].decode('utf-8', 'replace')}"
    return f"HTTP {response.status}: {said.get('error', said) if isinstance(said, dict) else said}"
