"""Changes of an endpoint, and the way on with each, from any process.

Every change of entities or traffic is a PUT of the whole configuration. It has no etag, so it is read and written under a
lease; while an update is under way Databricks takes no other, and neither do we. A PUT that got no answer is looked for: the
configuration that it asked for is pending or serves; if not, it is made again from what is there then.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from mlport.errors import AmbiguousError, BusyError, ConflictError, MlportError, NotFoundError, UnavailableError
from mlport.spi import Json, OperationStatus, State, StateStore
from mlport.state.lease import Lease, acquire
from mlport.waiting import delays
from mlport_databricks.labels import TOKEN_LABEL
from mlport_databricks.notes import Note, Notes
from mlport_databricks.serving.configs import changed, digest, is_so
from mlport_databricks.serving.endpoint_records import etag, reasons
from mlport_databricks.serving.endpoint_request import ENDPOINTS
from mlport_databricks.workspace.connection import Connection

LEASE_SECONDS = 90.0  # longer than a read and a write may take to time out
LEASE_WAIT = 10.0
UPDATING, FAILED, CANCELLED = "IN_PROGRESS", "UPDATE_FAILED", "UPDATE_CANCELED"
SUPERSEDED = "another change came after this one, and what it asked for does not serve"


class Changes:
    """The changes of the endpoints of one profile."""

    def __init__(
        self,
        connection: Connection,
        state: StateStore,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection, self._state, self._notes, self._clock, self._sleep = connection, state, Notes(state), clock, sleep

    def begin(self, note: Note) -> Note:
        """Note it and make its call.

        Raises:
            BusyError: another change is under way, and nothing is noted; ConflictError: it does not fit what is there.
        """
        return self._notes.begin(note, self._act)

    def endpoint(self, name: str) -> Json | None:
        """An endpoint as it is now, None where there is none."""
        try:
            return self._connection.call("GET", f"{ENDPOINTS}/{name}", operation="endpoints.get")
        except NotFoundError:
            return None

    # ---------------------------------------------------------------- acting

    def _act(self, note: Note) -> Note:
        if note.kind == "endpoint":
            return self._create(note)
        return self._delete(note) if note.kind == "delete" else self._put(note)

    def _create(self, note: Note) -> Note:
        note = self._notes.keep(replace(note, sent=self._clock()))
        try:
            self._connection.call("POST", ENDPOINTS, operation="endpoints.create", body=note.change["body"])
        except ConflictError as error:
            there = self.endpoint(note.target)
            if there is None or _token(there) != note.token:
                raise ConflictError(
                    f"there is an endpoint {note.target!r} already",
                    hint="choose another name, or delete that one",
                    native_code=error.native_code,
                ) from error
        return self._notes.accepted(note)

    def _delete(self, note: Note) -> Note:
        there = self.endpoint(note.target)
        if there is None or note.change.get("id") not in (None, there.get("id")):
            return self._notes.keep(note.succeeded())
        note = self._notes.keep(replace(note, change={"id": there.get("id")}, sent=self._clock()))
        try:
            self._connection.call("DELETE", f"{ENDPOINTS}/{note.target}", operation="endpoints.delete", repeatable=True)
        except NotFoundError:
            return self._notes.keep(note.succeeded())
        except BusyError:  # an update is under way: it is tried again at the next look
            return note
        return self._notes.accepted(note)

    def _put(self, note: Note) -> Note:
        """Read the whole configuration, change it, and write it: under the lease, and if nobody else is at it."""
        with self._lease(note.target):
            there = self.endpoint(note.target)
            if there is None:
                return self._gone(note)
            if _update(there) == UPDATING:
                raise BusyError(
                    f"endpoint {note.target!r} is being updated", hint="try again when that is done", operation="endpoints.update_config"
                )
            if note.change.get("etag") not in (None, etag(there)):
                raise ConflictError(f"endpoint {note.target!r} was changed since you looked", hint="look again, and decide anew")
            config = there.get("config")
            if is_so(config, note.change) and (note.sent or "add" not in note.change):  # an entity of that name may be another's
                return self._notes.keep(note.succeeded())
            body = changed(note.target, config, note.change)
            note = self._notes.keep(replace(note, sent=self._clock(), desired=digest(body), accepted=False))
            self._connection.call("PUT", f"{ENDPOINTS}/{note.target}/config", operation="endpoints.update_config", body=body)
            return self._notes.accepted(note)

    def _gone(self, note: Note) -> Note:
        if "remove" in note.change:
            return self._notes.keep(note.succeeded())
        raise NotFoundError(f"there is no endpoint {note.target!r}")

    @contextmanager
    def _lease(self, endpoint: str) -> Iterator[None]:
        """One writer of an endpoint at a time. Another holds it for as long as one read and one write take: it is waited for."""
        lease = self._acquired(endpoint)
        try:
            yield
        finally:
            with suppress(UnavailableError):  # it ends by itself, and what was done under it was done
                lease.release()

    def _acquired(self, endpoint: str) -> Lease:
        owner, deadline = uuid.uuid4().hex, self._clock() + LEASE_WAIT
        for pause in delays(first=0.05, ceiling=1.0):
            lease = acquire(self._state, f"databricks/endpoints/{endpoint}", owner, LEASE_SECONDS, clock=self._clock)
            if lease is not None:
                return lease
            if self._clock() + pause > deadline:
                break
            self._sleep(pause)
        raise BusyError(
            f"another process changes endpoint {endpoint!r} just now", hint="try again in a moment", operation="endpoints.update_config"
        )

    # ---------------------------------------------------------------- looking

    def look(self, note: Note, *, may_act: bool) -> OperationStatus:
        """Where it is; with `may_act`, after its next step."""
        there = self.endpoint(note.target)
        native = "" if there is None else " ".join(str(word) for word in there.get("state", {}).values())
        judged = self._judged(note, there)
        if judged is not None:
            return (self._notes.keep(judged) if judged != note else note).told(native, _progress(there))
        if not may_act:
            return note.told(native, _progress(there))
        return self._again(note).told(native)

    def _judged(self, note: Note, there: Json | None) -> Note | None:
        """The note after a look; None where its call is to be made, again or for the first time."""
        if note.kind == "endpoint":
            return self._created(note, there)
        if note.kind == "delete":
            gone = there is None or (note.change.get("id") not in (None, there.get("id")))
            return note.succeeded() if gone else (note if note.accepted else None)
        return self._configured(note, there)

    def _created(self, note: Note, there: Json | None) -> Note | None:
        if note.reason:  # it failed, and what is left of it is being removed
            return note.failed(note.reason) if there is None or _token(there) != note.token else None
        if there is None:
            return note.failed("it was deleted while it was being made") if note.accepted else None
        if _token(there) != note.token:
            return note.failed(f"an endpoint {note.target!r} that is another was there first")
        update, ready = _update(there), there.get("state", {}).get("ready")
        if update in (FAILED, CANCELLED):
            return self._notes.keep(replace(note, accepted=True, reason=_why(there, update))) if not note.reason else None
        if ready == "READY" and update != UPDATING:
            return note.succeeded()
        return replace(note, accepted=True)

    def _configured(self, note: Note, there: Json | None) -> Note | None:
        if there is None:
            return note.succeeded() if "remove" in note.change else note.failed(f"the endpoint {note.target!r} was deleted")
        update = _update(there)
        ours = bool(note.desired) and note.desired in (digest(there.get("pending_config")), digest(there.get("config")))
        note = replace(note, accepted=note.accepted or ours)
        if update == UPDATING:
            return note
        if note.sent and is_so(there.get("config"), note.change):
            return note.succeeded()
        if not note.accepted:
            return None
        if update in (FAILED, CANCELLED):
            return note.failed(_why(there, update), State.CANCELLED if update == CANCELLED else State.FAILED)
        return note.failed(SUPERSEDED)

    def _again(self, note: Note) -> Note:
        """Its call, made now; what is busy is tried again at the next look, and what is refused is its end."""
        try:
            if note.kind == "endpoint" and note.reason:
                self._connection.call("DELETE", f"{ENDPOINTS}/{note.target}", operation="endpoints.create", repeatable=True)
                return note
            return self._act(note)
        except AmbiguousError:
            return note
        except MlportError as error:
            if error.retryable:
                return note
            return self._notes.keep(note.failed(error.message))


def _token(endpoint: Json) -> str | None:
    return next((str(tag.get("value")) for tag in endpoint.get("tags", ()) if tag["key"] == TOKEN_LABEL), None)


def _update(endpoint: Json) -> str:
    return str(endpoint.get("state", {}).get("config_update", ""))


def _why(endpoint: Json, update: str) -> str:
    return "; ".join(reasons(endpoint)) or f"Databricks says {update}, without a reason"


def _progress(endpoint: Json | None) -> str:
    """What each entity that is coming is at."""
    entities = ((endpoint or {}).get("pending_config") or {}).get("served_entities", ())
    return ", ".join(f"{entity['name']}: {entity.get('state', {}).get('deployment', '')}" for entity in entities)
