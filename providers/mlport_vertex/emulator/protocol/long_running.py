"""Long-running operations: begun by a call, finished by whoever looks next, found again after a restart.

An operation is a document of the kind `operations`; while it is not done, one of the kind `pending` says what its work is.
Work is done by the doer of its kind, which is called again and again, by a chore and by each look at the operation, until
it gives the response. A doer must be able to begin anew: a killed emulator may have done a part of it. One that fails by a
defect is tried a few times; then what it has done is taken back, and the operation fails with INTERNAL.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from mlport.faults import fault
from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.protocol.api import Request
from mlport_vertex.emulator.protocol.discovery import document
from mlport_vertex.emulator.protocol.errors import ApiError, not_found
from mlport_vertex.emulator.protocol.resources import new_id

Json = dict[str, Any]
Doer = Callable[["Work"], Json | None]
Undoer = Callable[["Work"], bool]

KIND, PENDING = "operations", "pending"
WORKERS = 4  # operations that are worked on at once by the chore
LONG_WORKERS = 4  # batches that are, so that no deployment waits for their end
TYPES = "type.googleapis.com/google.cloud.aiplatform.v1."
BETA_TYPES = "type.googleapis.com/google.cloud.aiplatform.v1beta1."
SCHEMAS = {TYPES: ("aiplatform.v1", "GoogleCloudAiplatformV1"), BETA_TYPES: ("aiplatform.v1beta1", "GoogleCloudAiplatformV1beta1")}
EMPTY = {"@type": "type.googleapis.com/google.protobuf.Empty"}
INTERNAL = ApiError("INTERNAL", "INTERNAL")


class Work:
    """One operation's work as its doer sees it. `args` are those given to `begin`; `operation` is its full name."""

    def __init__(self, running: LongRunning, operation: str, resource: str, args: Json) -> None:
        self._running, self.operation, self.resource, self.args = running, operation, resource, args

    def tell(self, **metadata: Any) -> None:
        """Set fields of the operation's metadata, such as `deploymentStage`; told only where they change."""
        self._running.tell(self.operation, metadata)


class LongRunning:
    """The operations of one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._doers: dict[str, Doer] = {}
        self._undoers: dict[str, Undoer] = {}
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="operations")
        self._long = ThreadPoolExecutor(LONG_WORKERS, thread_name_prefix="long")
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self.ending = threading.Event()
        place.chore(self._push)

    def register(self, kind: str, doer: Doer, undo: Undoer | None = None) -> None:
        """Name who does a kind of work.

        The doer returns the response, `@type` included, None while the work goes on; it raises ApiError to fail. `undo`
        takes back what was done when the operation is cancelled, and says whether it has; without it a cancel is ignored, as Google's best effort may.
        """
        self._doers[kind] = doer
        if undo:
            self._undoers[kind] = undo

    def begin(self, resource: str, metadata_type: str, kind: str, args: Json) -> Json:
        """A new operation under a resource, as the call that begins it answers. `metadata_type` is such as UploadModelOperationMetadata."""
        name, began = f"{_home(resource)}/operations/{new_id(self._place)}", now()
        metadata = {"@type": _type(metadata_type), "genericMetadata": {"createTime": began, "updateTime": began}}
        operation: Json = {"name": name, "metadata": metadata}
        _check(operation)
        with self._place.documents.together():
            self._place.documents.insert(KIND, name, operation)
            self._place.documents.insert(PENDING, name, {"name": name, "resource": resource, "work": kind, "args": args})
        fault("after-operation-begin")
        return operation

    def get(self, name: str) -> Json:
        """The operation as it is now; a look does what can be done. Raises ApiError (NOT_FOUND)."""
        self._advance(name)
        found = self._place.documents.get(KIND, name)
        if found is None:
            raise not_found("Operation", name)
        return found

    def under_way(self, resource: str) -> str | None:
        """The name of an operation of this resource that is not done, None if there is none."""
        names = (body["name"] for _, body in self._place.documents.list(PENDING, f"{resource}/operations/"))
        return next(names, None)

    def tell(self, name: str, metadata: Mapping[str, Any]) -> None:
        def change(operation: Json) -> Json | None:
            before = operation["metadata"]
            if all(before.get(key) == value for key, value in metadata.items()):
                return None
            general = {**before["genericMetadata"], "updateTime": now()}
            return {**operation, "metadata": {**before, **metadata, "genericMetadata": general}}

        self._place.documents.change(KIND, name, change)

    def delete(self, name: str) -> None:
        """Forget a finished operation. Raises ApiError."""
        if not self.get(name).get("done"):
            raise ApiError("FAILED_PRECONDITION", f"The operation {name} is not done.")
        self._place.documents.delete(KIND, name)

    def cancel(self, name: str) -> None:
        """Ask for the end of what can be taken back; the operation ends with CANCELLED. Raises ApiError (NOT_FOUND)."""
        self.get(name)
        self._place.documents.change(PENDING, name, lambda pending: {**pending, "cancelled": True})

    def close(self) -> None:
        self.ending.set()
        self._pool.shutdown(cancel_futures=True)
        self._long.shutdown(cancel_futures=True)

    def background(self, key: str, work: Callable[[], None], give_up: Callable[[], object]) -> None:
        """Do work of another kind beside that of the operations, unless work of this key is being done.

        What takes long looks at `ending` now and then, and leaves the rest to the next emulator. `give_up` says that it has
        failed, once it failed by a defect too often.
        """
        self._submit(self._long, key, work, give_up)

    def _submit(self, pool: ThreadPoolExecutor, key: str, work: Callable[[], None], give_up: Callable[[], object]) -> None:
        if key not in self._busy:
            pool.submit(self._alone, key, work, give_up)

    # ---------------------------------------------------------------- doing

    def _push(self) -> None:
        for _, pending in list(self._place.documents.list(PENDING))[::-1]:
            name = pending["name"]
            self._submit(self._pool, name, partial(self._look, name), partial(self._give_up, name))

    def _advance(self, name: str) -> None:
        """Do what can be done now, unless another thread is at it."""
        self._alone(name, partial(self._look, name), partial(self._give_up, name))

    def _alone(self, key: str, work: Callable[[], None], give_up: Callable[[], object]) -> None:
        with self._lock:
            if key in self._busy:
                return
            self._busy.add(key)
        try:
            self._place.tries(key, work, give_up)
        finally:
            with self._lock:
                self._busy.discard(key)

    def _look(self, name: str) -> None:
        pending = self._place.documents.get(PENDING, name)
        if pending is not None:
            self._do(pending)

    def _do(self, pending: Json) -> None:
        work = Work(self, pending["name"], pending["resource"], pending["args"])
        undo = self._undoers.get(pending["work"]) if pending.get("cancelled") or pending.get("broken") else None
        try:
            if undo:
                if not undo(work):
                    return
                raise INTERNAL if pending.get("broken") else ApiError("CANCELLED", "The operation was cancelled.")
            response = self._doers[pending["work"]](work)
        except ApiError as error:
            self._finish(work.operation, {"error": error.rpc()})
        else:
            if response is not None:
                self._finish(work.operation, {"response": response})

    def _give_up(self, name: str) -> bool:
        """Begin to take back what was done, where that can be; if that failed too, or cannot be, the operation ends as it is."""
        pending = self._place.documents.get(PENDING, name)
        if pending is not None and pending["work"] in self._undoers and not pending.get("broken"):
            self._place.documents.change(PENDING, name, lambda found: {**found, "broken": True})
            return True
        self._finish(name, {"error": INTERNAL.rpc()})
        return False

    def _finish(self, name: str, outcome: Json) -> None:
        _check(outcome)
        fault("before-operation-end")
        ended = now()

        def change(operation: Json) -> Json:
            general = {**operation["metadata"]["genericMetadata"], "updateTime": ended}
            return {**operation, "metadata": {**operation["metadata"], "genericMetadata": general}, "done": True, **outcome}

        with self._place.documents.together():
            self._place.documents.change(KIND, name, change)
            self._place.documents.delete(PENDING, name)
        fault("after-operation-end")


def _home(resource: str) -> str:
    """What an operation's name begins with: its resource, or the location where the API has no operations under such resources."""
    parts = resource.split("/")
    method = f"aiplatform.projects.locations.{parts[4]}.operations.get"
    has_own = any(method in document(name).methods for name, _ in SCHEMAS.values())
    return "/".join(parts[:6] if has_own else parts[:4])


def _type(message: str) -> str:
    """The whole name of an aiplatform type: that of v1, unless only v1beta1 has it."""
    name, prefix = SCHEMAS[TYPES]
    return (TYPES if prefix + message in document(name).schemas else BETA_TYPES) + message


def typed(message: str, value: Json) -> Json:
    """A response of an aiplatform type, such as UploadModelResponse, in the form of google.protobuf.Any."""
    return {"@type": _type(message), **value}


def shown(operation: Json, request: Request) -> Json:
    """The operation in the API version that was asked: its types are those of the caller's protos."""
    if not request.call.path.startswith("/v1beta1/"):
        return operation
    told: Json = {
        part: {**operation[part], "@type": operation[part]["@type"].replace(TYPES, BETA_TYPES)}
        for part in ("metadata", "response")
        if part in operation
    }
    return {**operation, **told}


def _check(operation: Json) -> None:
    """Hold what is inside an operation to its published type; the methods' own check sees an object only."""
    for part in ("metadata", "response"):
        value = operation.get(part)
        types = next((each for each in SCHEMAS if value and value["@type"].startswith(each)), None)
        if value and types:
            name, prefix = SCHEMAS[types]
            schema = prefix + value["@type"].removeprefix(types)
            if problems := document(name).message(schema, value):
                raise ValueError(f"an operation's {part} does not fit {schema}: {problems}")
