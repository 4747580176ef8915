"""Endpoints of Model Serving: entities and traffic are one configuration, which every change writes whole.

Decisions: an endpoint is made with its first deployment, never empty. A deployment with traffic is not undeployed, the last one
included: delete the endpoint instead. A creation that fails leaves no endpoint. What was captured stays, in the schema's own table.
Endpoints that serve no registered model, such as Databricks' own foundation models, are in no listing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mlport.errors import ConflictError, NotFoundError, UnsupportedError, stamped
from mlport.specs import Spec
from mlport.spi import Answer, EndpointRecord, Json, Observation, Operation, Page, Plan, Query, StateStore, Window
from mlport.traffic import check_shares
from mlport_databricks.names import settled
from mlport_databricks.notes import Note, Notes
from mlport_databricks.pages import page_of
from mlport_databricks.serving import captured, observe, predicting
from mlport_databricks.serving.changing import Changes
from mlport_databricks.serving.configs import split_of
from mlport_databricks.serving.endpoint_records import endpoint_record, etag
from mlport_databricks.serving.endpoint_request import ENDPOINTS
from mlport_databricks.workspace.connection import Connection

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = ("endpoint", "deployment", "set_traffic", "undeploy", "delete")
LOOKS_AT_ONCE = 8


@stamped("databricks", "endpoints")
class DatabricksEndpoints:
    """The endpoints of one workspace. Safe to use from several threads."""

    def __init__(self, connection: Connection, state: StateStore) -> None:
        self._connection, self._notes, self._changes = connection, Notes(state), Changes(connection, state)
        self._phone = predicting.Phone(connection)

    # ---------------------------------------------------------------- making

    def create(self, plan: Plan, *, token: str) -> Operation:
        """Begin to make an endpoint and its deployment; both are there when the operation has succeeded.

        Raises:
            ConflictError: an endpoint of that name exists.
        """
        body = settled(plan.requests[0].body, token)
        return self._changes.begin(Note(token, "endpoint", plan.name, {"body": body})).operation

    def deploy(self, plan: Plan, *, token: str) -> Operation:
        """Begin to add a deployment, at 0 percent.

        Raises:
            ConflictError: a deployment of that name is there; BusyError: another change is under way.
        """
        added = settled(plan.requests[0].body, token)["served_entities"][-1]
        return self._changes.begin(Note(token, "deployment", str(plan.spec["endpoint"]), {"add": added})).operation

    def find(self, token: str) -> Operation | None:
        note = self._notes.find(token)
        return note.operation if note and note.kind in KINDS else None

    def facts(self, spec: Spec) -> Json:
        """What a plan asks: nothing; the configuration that there is then is read when it is changed."""
        return {}

    # ---------------------------------------------------------------- changing

    def set_traffic(self, name: str, split: Mapping[str, int], *, token: str, etag: str | None = None) -> Operation:
        """Begin to set the whole split.

        Raises:
            SpecError: shares that are no whole percents, or do not sum to 100.
            ConflictError: the split does not name exactly the deployments that there are, or `etag` is no longer right.
            BusyError: another change is under way.
        """
        check_shares(split)
        if found := self.find(token):
            return found
        self._fits(name, split, etag)
        change = {"split": dict(split), **({"etag": etag} if etag is not None else {})}
        return self._changes.begin(Note(token, "set_traffic", name, change)).operation

    def _fits(self, name: str, split: Mapping[str, int], wanted: str | None) -> None:
        endpoint = self._endpoint(name)
        if wanted is not None and wanted != etag(endpoint):
            raise ConflictError(f"endpoint {name!r} was changed since you looked", hint="look again, and decide anew")
        there = split_of(endpoint.get("config"))
        if set(split) != set(there):
            raise ConflictError(
                f"the split names {sorted(split)}, and {name!r} has {sorted(there)}", hint="name each deployment, with 0 for none"
            )

    def undeploy(self, name: str, deployment: str, *, token: str) -> Operation:
        """Begin to take a deployment out. An absent one is fine.

        Raises:
            ConflictError: it has traffic; BusyError: another change is under way.
        """
        return self._changes.begin(Note(token, "undeploy", name, {"remove": deployment})).operation

    def delete(self, name: str, *, token: str) -> Operation:
        """Begin to remove the endpoint and all that it serves. An absent one is fine."""
        self._phone.forget(name)
        return self._changes.begin(Note(token, "delete", name)).operation

    def rotate_key(self, name: str, *, token: str) -> str:
        raise UnsupportedError(
            "databricks", [("endpoint.key", "absent: Model Serving has no keys of endpoints; callers show a token of the workspace")]
        )

    # ---------------------------------------------------------------- looking

    def get(self, name: str) -> EndpointRecord:
        return endpoint_record(self._connection.config, self._endpoint(name))

    def _endpoint(self, name: str) -> Json:
        found = self._changes.endpoint(name)
        if found is None:
            raise NotFoundError(f"there is no endpoint {name!r}")
        return found

    def list(self, query: Query, page: str | None = None) -> Page[EndpointRecord]:
        """One page of endpoints that serve registered models; a listing tells no traffic, so those of the page are looked up."""
        listed = self._connection.call("GET", ENDPOINTS, operation="endpoints.list").get("endpoints", ())
        found = [endpoint for endpoint in listed if query.name in (None, endpoint["name"]) and _is_custom(endpoint)]
        found = [endpoint for endpoint in found if query.labels.items() <= _tags(endpoint).items()]
        some, after = page_of(
            found,
            lambda endpoint: [int(endpoint.get("creation_timestamp", 0)), str(endpoint["name"])],
            newest_first=query.newest_first,
            size=query.page_size,
            page=page,
        )
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            whole = list(pool.map(lambda endpoint: self._changes.endpoint(str(endpoint["name"])), some))
        return Page([endpoint_record(self._connection.config, endpoint) for endpoint in whole if endpoint is not None], after)

    def headers(self, name: str, *, method: str = "POST", path: str = "", body: bytes | None = None) -> Mapping[str, str]:
        """A bearer token: one of OAuth is good for an hour at most, so ask again for each call."""
        self._endpoint(name)
        return {"authorization": f"Bearer {self._connection.token()['token']}"}

    # ---------------------------------------------------------------- what passes

    def predict(
        self, name: str, rows: Sequence[Json], *, deployment: str | None = None, request_id: str | None = None, timeout: float = 60.0
    ) -> Answer:
        """Ask for predictions.

        Raises:
            UnsupportedError: `deployment` is given.
            SpecError: the request is larger than Model Serving takes.
            PredictionError: any answer of the model's but 2xx, or none; it is not asked again.
        """
        if deployment is not None:
            raise UnsupportedError("databricks", [("endpoint.target", "absent: no documented call names one served entity")])
        return self._phone.predict(name, rows, caller_id=request_id, timeout=timeout)

    def captured(self, name: str, window: Window) -> Iterator[pa.RecordBatch]:
        """What the inference table has of it; a request is there within an hour, as far as Databricks can."""
        return captured.read(self._connection, self._endpoint(name), window)

    def observe(self, name: str, window: Window) -> Observation:
        """What the inference table or the metrics of the last minute have of it."""
        return observe.observation(self._connection, self._endpoint(name), window)


def _is_custom(endpoint: Json) -> bool:
    entities = (endpoint.get("config") or {}).get("served_entities", ())
    return not entities or any(entity.get("entity_name") and "foundation_model" not in entity for entity in entities)


def _tags(endpoint: Json) -> dict[str, str]:
    return {str(tag["key"]): str(tag.get("value", "")) for tag in endpoint.get("tags", ())}
