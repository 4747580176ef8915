"""Asking an endpoint for predictions: rawPredict, with a body in the words of Vertex AI's container contract.

Why not `:predict`: what is logged of it is its instances and predictions (docs/emulators.md), which leaves no place for the
request's id; the body of rawPredict is handed to the container, and logged, as it is. So the id travels in `parameters`,
which the contract has, and which containers that know nothing of it leave alone; in the Open Inference Protocol, in `id`.
A route that ends with `/infer` is of that protocol; all deployments of an endpoint must speak the same.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlport.errors import AmbiguousError, PredictionError, SpecError, UnavailableError
from mlport.rows import encoded
from mlport.spi import Answer, Json
from mlport_vertex.google.errors import Refusal, translated
from mlport_vertex.names import endpoint_name
from mlport_vertex.serving.deployed import Deployed, DeployedModels
from mlport_vertex.serving.endpoint_records import PREDICT, address

if TYPE_CHECKING:
    from requests import Response

    from mlport_vertex.google.api import VertexApi

REQUEST_ID, CALLER_ID = "mlport_request_id", "mlport_caller_id"
DEPLOYED_MODEL = "x-vertex-ai-deployed-model-id"
NOT_THE_MODELS = ("UNAUTHENTICATED", "PERMISSION_DENIED")
DATATYPES = {"double": "FP64", "float": "FP32", "long": "INT64", "integer": "INT32", "boolean": "BOOL", "string": "BYTES"}
"""MLflow's types of columns as the Open Inference Protocol's."""


@dataclass(frozen=True, slots=True)
class Line:
    """Where an endpoint is asked, and how its deployments are spoken to."""

    url: str
    known: Mapping[str, Deployed]

    @property
    def any(self) -> Deployed | None:
        """One that stands for all: they are versions of one thing."""
        by_position = [each for each in self.known.values() if each.takes_lists]
        return next(iter([*by_position, *self.known.values()]), None)


class Phone:
    """Calls endpoints, from any number of threads. Their addresses are remembered until they turn out to be old."""

    def __init__(self, api: VertexApi, deployed: DeployedModels) -> None:
        self._api, self._deployed = api, deployed
        self._lines: dict[str, Line] = {}

    def forget(self, name: str) -> None:
        """Look it up anew at the next call."""
        self._lines.pop(name, None)

    def predict(self, name: str, rows: Sequence[Json], *, caller_id: str | None, timeout: float) -> Answer:
        """One request. One that found no such endpoint is looked up anew, and asked once more if it is elsewhere."""
        was_known = name in self._lines
        line = self._line(name)
        request_id = secrets.token_hex(16)
        response = self._send(name, line, rows, request_id, caller_id, timeout)
        if response.status_code == 404 and was_known:
            self.forget(name)
            line = self._line(name)
            response = self._send(name, line, rows, request_id, caller_id, timeout)
        return self._answer(name, line, response, request_id)

    def _line(self, name: str) -> Line:
        if name not in self._lines:
            endpoint = self._api.call("endpoints.get", name=endpoint_name(self._api.config.parent, name))
            url = address(self._api.config, endpoint).removesuffix(PREDICT) + ":rawPredict"
            line = Line(url, self._deployed.of(endpoint))
            if not line.known:
                raise PredictionError(f"endpoint {name!r} has no deployment", status=503, hint="wait until it is created, or deploy to it")
            self._lines[name] = line
        return self._lines[name]

    def _send(self, name: str, line: Line, rows: Sequence[Json], request_id: str, caller_id: str | None, timeout: float) -> Response:
        content = body_of(line, rows, request_id, caller_id)
        try:
            return self._api.connection.exchange("POST", line.url, operation="endpoints.predict", content=content, timeout=timeout)
        except (AmbiguousError, UnavailableError) as error:
            status = 504 if isinstance(error, AmbiguousError) else 503
            raise PredictionError(f"endpoint {name!r}: {error.message}", status=status, request_id=request_id) from error

    def _answer(self, name: str, line: Line, response: Response, request_id: str) -> Answer:
        if response.status_code >= 300:
            refusal = Refusal.of_answer(response.status_code, response.content)
            if refusal.code in NOT_THE_MODELS:
                raise translated(refusal, "endpoints.predict", repeatable=False)
            if response.status_code == 404:
                self.forget(name)
                self._line(name)  # raises NotFoundError if it is gone
            said = f"endpoint {name!r}: HTTP {response.status_code}: {_words(refusal.message)}"
            raise PredictionError(said, status=response.status_code, request_id=request_id)
        number = response.headers.get(DEPLOYED_MODEL, "")
        if number and number not in line.known:
            self.forget(name)
            line = self._line(name)
        who = line.known.get(number)
        return Answer(_predictions(name, response, request_id), request_id, who.name if who else None, who.version if who else None)


def _words(message: str) -> str:
    """What a container said, without the JSON around it."""
    try:
        said = json.loads(message)
    except ValueError:
        return message
    return str(said.get("error", said)) if isinstance(said, dict) else message


def body_of(line: Line, rows: Sequence[Json], request_id: str, caller_id: str | None) -> bytes:
    """The request's body for the deployments of an endpoint.

    Raises:
        SpecError: they speak different protocols, or a value has no JSON form.
    """
    protocols = {each.speaks_v2 for each in line.known.values()}
    if len(protocols) > 1:
        raise SpecError(
            "some of the endpoint's deployments speak the Open Inference Protocol and some do not", hint="undeploy the ones or the others"
        )
    parameters = {REQUEST_ID: request_id, **({CALLER_ID: caller_id} if caller_id is not None else {})}
    if True in protocols:
        own = {"parameters": {CALLER_ID: caller_id}} if caller_id is not None else {}
        return encoded({"id": request_id, "inputs": _tensors(line, rows), **own})
    return encoded({"instances": _instances(line, rows), "parameters": parameters})


def _instances(line: Line, rows: Sequence[Json]) -> list[Any]:
    """Rows by position where a prebuilt image is asked, in the signature's order or, without one, in the first row's.

    Raises:
        PredictionError: a row has other columns: by position, the image would take them for the model's.
    """
    deployed = line.any
    if deployed is None or not deployed.takes_lists:
        return list(rows)
    columns = [name for name, _ in deployed.columns] or list(rows[0])
    for number, row in enumerate(rows):
        if row.keys() != set(columns):
            raise PredictionError(f"row {number} has the columns {', '.join(row)}; the model takes {', '.join(columns)}", status=400)
    return [[row[column] for column in columns] for row in rows]


def _tensors(line: Line, rows: Sequence[Json]) -> list[Json]:
    """One tensor for each column, of the type that the signature gives it, else the values'."""
    deployed = line.any
    kinds = dict(deployed.columns) if deployed else {}
    return [
        {"name": name, "shape": [len(rows)], "datatype": _datatype(kinds.get(name), values), "data": values}
        for name in rows[0]
        for values in [[row.get(name) for row in rows]]
    ]


def _datatype(kind: str | None, values: Sequence[Any]) -> str:
    if kind in DATATYPES:
        return DATATYPES[str(kind)]
    if all(isinstance(value, bool) for value in values):
        return "BOOL"
    if all(isinstance(value, int) for value in values):
        return "INT64"
    return "BYTES" if any(isinstance(value, str) for value in values) else "FP64"


def _predictions(name: str, response: Response, request_id: str) -> Sequence[Any]:
    try:
        answer = json.loads(response.content)
        return list(answer["predictions"] if "predictions" in answer else _of_tensors(answer["outputs"]))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise PredictionError(
            f"endpoint {name!r} answered with no predictions: {response.content[:200]!r}",
            status=response.status_code,
            request_id=request_id,
        ) from error


def _of_tensors(outputs: Sequence[Json]) -> list[Any]:
    """Rows of an answer in the Open Inference Protocol: of one output its values, of several a record each."""
    columns = {output["name"]: _rows(output) for output in outputs}
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _rows(output: Json) -> list[Any]:
    count, values = output["shape"][0], output["data"]
    if len(output["shape"]) == 1 or (values and isinstance(values[0], list)):
        return list(values)
    width = len(values) // count
    return [values[start : start + width] for start in range(0, count * width, width)]
