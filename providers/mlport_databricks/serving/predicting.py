"""Asking an endpoint for predictions: MLflow's scoring protocol, with the ids in `client_request_id`, which the inference table keeps."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlport.errors import AmbiguousError, PredictionError, SpecError, UnavailableError
from mlport.rows import encoded
from mlport.spi import Answer, Json
from mlport_databricks.serving.endpoint_request import ENDPOINTS
from mlport_databricks.workspace.errors import Refusal, translated

if TYPE_CHECKING:
    from requests import Response

    from mlport_databricks.workspace.connection import Connection

MOST_BYTES = 16 * 1000 * 1000  # docs.databricks.com, model-serving-limits: 16 MB a request
SERVED_MODEL = "served-model-name"  # databricks-sdk, ServingEndpointsAPI.query
NOT_THE_MODELS = ("UNAUTHENTICATED", "PERMISSION_DENIED")
_OURS = re.compile(r"(?P<ours>[0-9a-f]{32})(?::(?P<callers>.*))?", re.DOTALL)


def client_id_of(request_id: str, caller_id: str | None) -> str:
    """Both ids as one: the only one that a request can carry."""
    return request_id if caller_id is None else f"{request_id}:{caller_id}"


def ids_of(client_id: str | None) -> tuple[str | None, str | None]:
    """Our id and the caller's in a `client_request_id`; one that is not of our making is the caller's.

    >>> ids_of("0" * 32 + ":order 7"), ids_of("order 7"), ids_of(None)
    (('00000000000000000000000000000000', 'order 7'), (None, 'order 7'), (None, None))
    """
    matched = _OURS.fullmatch(client_id or "")
    return (matched["ours"], matched["callers"]) if matched else (None, client_id)


class Phone:
    """Calls endpoints, from any number of threads. Which version each deployment serves is remembered until another answers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._versions: dict[str, Mapping[str, str]] = {}

    def forget(self, name: str) -> None:
        """Look it up anew."""
        self._versions.pop(name, None)

    def predict(self, name: str, rows: Sequence[Json], *, caller_id: str | None, timeout: float) -> Answer:
        """One request; it is not sent again, for it would be captured twice."""
        request_id = secrets.token_hex(16)
        content = encoded({"dataframe_records": list(rows), "client_request_id": client_id_of(request_id, caller_id)})
        if len(content) > MOST_BYTES:
            raise SpecError(
                f"predict: {len(content)} bytes are more than the {MOST_BYTES} that Model Serving takes in one request",
                hint="send fewer rows at a time, or score them as a batch",
            )
        path = f"/serving-endpoints/{name}/invocations"
        try:
            response = self._connection.exchange(
                "POST",
                path,
                operation="endpoints.predict",
                content=content,
                headers={"content-type": "application/json"},
                timeout=timeout,
            )
        except (AmbiguousError, UnavailableError) as error:
            status = 504 if isinstance(error, AmbiguousError) else 503
            raise PredictionError(f"endpoint {name!r}: {error.message}", status=status, request_id=request_id) from error
        if response.status_code >= 300:
            raise self._refused(name, path, response, request_id)
        deployment = response.headers.get(SERVED_MODEL)
        return Answer(_predictions(name, response, request_id), request_id, deployment, self._version(name, deployment))

    def _refused(self, name: str, path: str, response: Response, request_id: str) -> Exception:
        """4xx is the model's own exception, or that there is no such endpoint."""
        refusal = Refusal.of_answer(response.status_code, response.content, response.headers)
        if refusal.code in NOT_THE_MODELS:
            return translated(refusal, "POST", path, "endpoints.predict", repeatable=False)
        if response.status_code == 404:
            self.forget(name)
            self._look(name)  # raises NotFoundError if it is gone
        said = f"endpoint {name!r}: HTTP {response.status_code}: {refusal.message}"
        return PredictionError(said, status=response.status_code, request_id=request_id)

    def _version(self, name: str, deployment: str | None) -> str | None:
        if deployment is None:
            return None
        if deployment not in self._versions.get(name, {}):
            self._versions[name] = self._look(name)
        return self._versions[name].get(deployment)

    def _look(self, name: str) -> Mapping[str, str]:
        endpoint = self._connection.call("GET", f"{ENDPOINTS}/{name}", operation="endpoints.predict")
        entities = (endpoint.get("config") or {}).get("served_entities", ())
        return {str(entity["name"]): str(entity.get("entity_version", "")) for entity in entities}


def _predictions(name: str, response: Response, request_id: str) -> Sequence[Any]:
    try:
        answer = json.loads(response.content)
        return list(answer["predictions"])
    except (ValueError, KeyError, TypeError) as error:
        raise PredictionError(
            f"endpoint {name!r} answered with no predictions: {response.content[:200]!r}",
            status=response.status_code,
            request_id=request_id,
        ) from error
