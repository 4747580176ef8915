"""Registering a version: made, filled by this machine, finalized. Who is killed in between leaves a note, and another goes on.

Unity Catalog makes a version for each call, so the call is made under a lease, and who does not know whether it was made
looks for the token in the versions' descriptions first.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from mlport.errors import AmbiguousError, BusyError, ConflictError, MlportError, NotFoundError, SpecError, UnavailableError
from mlport.spi import Json, OperationStatus, StateStore
from mlport.state.lease import acquire
from mlport_databricks.notes import Note, Notes
from mlport_databricks.registry import model_files
from mlport_databricks.registry.model_records import FAILED, PENDING, READY, token_of
from mlport_databricks.registry.model_request import API, described
from mlport_databricks.registry.model_storage import open_storage
from mlport_databricks.workspace.connection import Connection

LOOKED_FOR = 30.0
"""Seconds for which a version whose making got no answer is looked for before it is made again; no lag of the search is documented."""
LEASE_SECONDS = 120.0
LONGEST_RECORD = 60_000
"""Characters of a description, of which Unity Catalog takes 65,536; what is longer is cut out of it, into the state."""
RECORDS = "databricks/records"


class Registrations:
    """The registrations of one profile, and the way on with each."""

    def __init__(self, connection: Connection, state: StateStore, clock: Callable[[], float] = time.time) -> None:
        self._connection, self._state, self._notes, self._clock = connection, state, Notes(state), clock

    def begin(self, note: Note, files: model_files.Source) -> Note:
        """Register, in one go. `change` holds the requests' bodies (`model`, `version`), `record`, and where the files are (`path`)."""
        return self._notes.begin(note, lambda begun: self._whole(begun, files))

    def look(self, note: Note, *, may_act: bool) -> OperationStatus:
        """Where it is; with `may_act`, after its next step."""
        if not note.version and note.sent and (made := self._find(note)):
            note = replace(note, version=str(made["version"]))
        version = self._version(note) if note.version else None
        if note.version and version is None:
            return self._notes.keep(note.failed(f"version {note.version} was deleted before it was whole")).told()
        status = str((version or {}).get("status", ""))
        if status == READY:
            return self._notes.keep(note.succeeded()).told(status)
        if status == FAILED:
            return self._notes.keep(note.failed(str((version or {}).get("status_message") or "Unity Catalog gives no reason"))).told(status)
        if not may_act:
            return note.told(status, "2 of 2: files" if note.version else "1 of 2: version")
        files = self._files(note) if note.version else None
        try:
            return (self._filled(note, files) if files else self._made(note)).told(status)
        except (AmbiguousError, BusyError):
            return note.told(status)
        except MlportError as error:
            if error.retryable:
                return note.told(status)
            self._abandon(note)
            return self._notes.keep(note.failed(error.message)).told()

    def _whole(self, note: Note, files: model_files.Source) -> Note:
        try:
            note = self._made(note)
            return self._filled(note, files)
        except AmbiguousError:
            raise
        except BusyError:  # another process has found the note, and goes on with it
            return note
        except MlportError as error:
            try:
                self._abandon(self._notes.find(note.token) or note)
            except MlportError:  # what is left must be found again
                raise AmbiguousError(error.message, native_code=error.native_code) from error
            raise

    def _files(self, note: Note) -> model_files.Source:
        path = str(note.change["path"])
        try:
            return model_files.source(self._connection, path)
        except (NotFoundError, SpecError) as error:
            raise ConflictError(
                f"version {note.version} of {note.target} is not whole yet, and its files are not at {path} on this machine",
                hint="go on with it where they are; or delete that version in Unity Catalog, and register it anew",
            ) from error

    # ---------------------------------------------------------------- steps

    def _made(self, note: Note) -> Note:
        """The version's number reserved, exactly once."""
        with self._lease(note):
            note = self._notes.find(note.token) or note
            if note.version:
                return note
            if note.sent:
                if found := self._find(note):
                    return self._notes.keep(replace(note, version=str(found["version"]), accepted=True))
                if self._clock() - note.sent < LOOKED_FOR:
                    raise BusyError("whether the version was made is not known yet", hint="it is looked for")
            self._model(note)
            note = self._notes.keep(replace(note, sent=self._clock()))
            body = dict(note.change["version"])
            try:
                answer = self._send("POST", "model-versions/create", body)
            except NotFoundError:  # the model went since somebody looked
                self._send("POST", "registered-models/create", note.change["model"])
                answer = self._send("POST", "model-versions/create", body)
            made = answer["model_version"]
            return self._notes.accepted(replace(note, version=str(made["version"])))

    def _model(self, note: Note) -> None:
        if note.change.get("exists"):
            return
        try:
            self._send("POST", "registered-models/create", note.change["model"])
        except ConflictError:  # it is there: somebody else made it
            return

    def _filled(self, note: Note, files: model_files.Source) -> Note:
        """The files in their place, and the version finalized."""
        version = self._version(note)
        if version is None:
            raise NotFoundError(f"version {note.version} of {note.target} was deleted before it was whole")
        if version.get("status") != READY:
            name = str(version["name"])
            store = open_storage(self._connection, name, note.version, str(version["storage_location"]), "READ_WRITE")
            record = note.change["record"]
            model_files.upload(store, files, expect=record.get("digest"), plain=bool(record.get("plain")))
            version = self._finalized(note, name)
        return self._notes.keep(note.succeeded() if version.get("status") == READY else note)

    def _finalized(self, note: Note, name: str) -> Json:
        try:
            answer = self._send("POST", "model-versions/finalize", {"name": name, "version": note.version})
        except MlportError:  # it may have been done: by us, or by another who found the note
            version = self._version(note)
            if version is None or version.get("status") == PENDING:
                raise
            return version
        found: Json = answer["model_version"]
        return found

    def _abandon(self, note: Note) -> None:
        """Remove a version that never became whole. Raises AmbiguousError for one that did: it only could not be noted."""
        version = self._version(note) if note.version else None
        if version is None:
            return
        if version.get("status") == READY:
            raise AmbiguousError(f"version {note.version} of {note.target} is whole, and that could not be noted")
        self._connection.call(
            "DELETE",
            f"/api/2.1/unity-catalog/models/{version['name']}/versions/{note.version}",
            operation="models.register",
            repeatable=True,
        )

    # ---------------------------------------------------------------- looking

    def _find(self, note: Note) -> Json | None:
        """The version that carries the token."""
        listed = versions_of(self._connection, str(note.change["version"]["name"]))
        return next((version for version in listed if token_of(version) == note.token), None)

    def _version(self, note: Note) -> Json | None:
        return look_version(self._connection, str(note.change["version"]["name"]), note.version)

    def _send(self, verb: str, path: str, body: Json) -> Json:
        return self._connection.call(verb, f"{API}/{path}", operation=f"models.register, {path}", body=body)

    @contextmanager
    def _lease(self, note: Note) -> Iterator[None]:
        lease = acquire(self._state, f"databricks/register/{note.token}", uuid.uuid4().hex, LEASE_SECONDS, clock=self._clock)
        if lease is None:
            raise BusyError(f"another process registers {note.target} with this token just now", hint="try again in a moment")
        try:
            yield
        finally:
            with suppress(UnavailableError):  # it ends by itself
                lease.release()


def written(state: StateStore, token: str, record: Json) -> str:
    """The description of a version: the record in it, or, where that is too long, the large parts in the state."""
    text = described(token, record)
    if len(text) <= LONGEST_RECORD:
        return text
    import json

    large = {part: record[part] for part in ("lineage", "signature", "description") if part in record}
    state.put(f"{RECORDS}/{token}", json.dumps(large).encode())
    return described(token, {**{part: value for part, value in record.items() if part not in large}, "more": f"{RECORDS}/{token}"})


def whole(state: StateStore, record: Json) -> Json:
    """The record with what was too long for the description."""
    if not record.get("more"):
        return record
    import json

    found = state.get(str(record["more"]))
    return {**record, **(json.loads(found.value) if found else {})}


def versions_of(connection: Connection, name: str) -> Iterator[Json]:
    """Every version of a model, as the search tells it: without tags and aliases. Nothing for an unknown model."""
    query: dict[str, Any] = {"filter": f"name='{name}'"}
    while True:
        try:
            found = connection.call("GET", f"{API}/model-versions/search", operation="models.versions", query=query)
        except NotFoundError:
            return
        yield from found.get("model_versions", ())
        if not found.get("next_page_token"):
            return
        query["page_token"] = found["next_page_token"]


def look_version(connection: Connection, name: str, version: str) -> Json | None:
    """A version with its tags and aliases, None where there is none."""
    try:
        found = connection.call("GET", f"{API}/model-versions/get", operation="models.get", query={"name": name, "version": version})
    except NotFoundError:
        return None
    answer: Json = found["model_version"]
    return answer
