"""Long mutations as notes in the profile's state: which calls, how far, and how it ended; any process can go on with one.

A note is written before the first call, so that what was begun is found by its token. A call that got no answer, and one
that somebody else may have made meanwhile, is not made again before a look at what is there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mlport.errors import (
    AmbiguousError,
    BusyError,
    ConflictError,
    InvalidRequestError,
    MlportError,
    NotFoundError,
)
from mlport.spi import ABSENT, Json, Operation, OperationStatus, State, StateStore, Versioned
from mlport_vertex.config import VertexConfig
from mlport_vertex.google.api import VertexApi
from mlport_vertex.google.errors import Refusal
from mlport_vertex.labels import TOKEN_LABEL
from mlport_vertex.serving.build_calls import BUILD, Builds

FOLDER = "vertex/operations"
FILES = "objects.delete"
"""A step that removes what lies below an address in Cloud Storage."""
LOOKED_FOR = 60.0
"""Seconds for which a call that got no answer is looked for before it is made again; how long lists lag is not documented."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call. `native` is the operation that it began, `sent` when it was made without an answer so far (seconds since 1970)."""

    call: str
    resource: str
    body: Json = field(default_factory=dict)
    query: Json = field(default_factory=dict)
    native: str = ""
    sent: float = 0.0


@dataclass(frozen=True, slots=True)
class Note:
    """A mutation. `at` counts the steps that are done; `undone` is why those that are left take back what there is."""

    token: str
    kind: str
    target: str
    steps: tuple[Step, ...]
    at: int = 0
    result: str = ""
    failed: str = ""
    undone: str = ""

    @property
    def id(self) -> str:
        """The operation's id: enough to go on with it from any process."""
        return f"{self.kind}/{self.target}/{self.token}"

    @property
    def operation(self) -> Operation:
        return Operation(self.id, self.kind, self.target)

    @property
    def ended(self) -> bool:
        return bool(self.failed) or self.at >= len(self.steps)

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decoded(cls, content: bytes) -> Note:
        found = json.loads(content)
        return cls(**{**found, "steps": tuple(Step(**step) for step in found["steps"])})


Goal = Callable[[Note, Step], str | None]
"""Whether what a step is for is there: what it made, which may be empty, or None where it is not."""


class Sagas:
    """The notes of one profile, and the way on with each."""

    def __init__(self, api: VertexApi, state: StateStore, clock: Callable[[], float] = time.time) -> None:
        self._api, self._state, self._clock = api, state, clock
        self._builds = Builds(api)
        self._goals: Mapping[str, Goal] = {
            BUILD: self._built,
            "models.upload": self._uploaded,
            "endpoints.create": self._created,
            "endpoints.deployModel": self._deployed,
            "endpoints.undeployModel": self._undeployed,
            "endpoints.patch": self._silenced,
            "endpoints.delete": self._deleted,
            "models.delete": self._deleted,
            "modelMonitors.create": self._watched,
            "schedules.create": self._scheduled,
            "modelMonitors.delete": self._deleted,
            FILES: self._cleared,
        }

    # ---------------------------------------------------------------- notes

    def find(self, token: str) -> Note | None:
        """The note of a token."""
        found = self._state.get(_key(token))
        return Note.decoded(found.value) if found else None

    def of(self, kind: str, target: str) -> Iterator[Note]:
        """The notes of one kind of one thing."""
        notes = (Note.decoded(found.value) for _, found in self._state.list(f"{FOLDER}/"))
        return (note for note in notes if (note.kind, note.target) == (kind, target))

    def forget(self, token: str) -> None:
        """Remove the note of a token, so that it can begin anew."""
        self._state.delete(_key(token))

    def begin(self, note: Note) -> Note:
        """Note it and make the first call, unless that was done before.

        Raises:
            MlportError: the call was refused, and nothing is noted; AmbiguousError: it got no answer, and the note stands.
        """
        if not note.ended:
            note = _changed(note, sent=self._clock())  # who finds the note cannot know whether the call was made
        try:
            version = self._state.put(_key(note.token), note.encoded(), expect=ABSENT)
        except ConflictError:
            earlier = self.find(note.token)
            if earlier is None:
                raise
            return earlier
        if note.ended:
            return note
        try:
            sent = self._first(note)
        except AmbiguousError:
            raise
        except MlportError:
            self._state.delete(_key(note.token), expect=version)
            raise
        self._state.put(_key(note.token), sent.encoded(), expect=version)
        return sent

    def _first(self, note: Note) -> Note:
        step = note.steps[0]
        try:
            return self._made(note, self._call(note, step))
        except (ConflictError, InvalidRequestError) as error:
            is_busy = isinstance(error, InvalidRequestError) and self._is_busy(step)  # looked at first: what ends after that is seen done
            if (made := self._goals[step.call](note, step)) is not None:
                return _past(note, made or note.result)
            if is_busy:
                raise BusyError(error.message, hint="try again when that is done", native_code=error.native_code) from error
            raise

    def status(self, token: str) -> OperationStatus:
        """Where it is. Raises NotFoundError."""
        note = self._known(token)[0]
        return self._told(note, self._operation(note))

    def advance(self, token: str) -> OperationStatus:
        """Look, and make the next call if it is due: at most one mutation."""
        note, stored = self._known(token)
        operation = self._operation(note)
        told = self._told(note, operation)
        if note.ended or (operation is not None and not operation.get("done")):
            return told
        after = self._next(note, operation)
        if after != note:
            try:
                self._state.put(_key(token), after.encoded(), expect=stored.version)
            except ConflictError:  # another process has gone on with it: the next look shows how far
                return told
        return self._told(after, None)

    def _known(self, token: str) -> tuple[Note, Versioned]:
        found = self._state.get(_key(token))
        if found is None:
            raise NotFoundError(f"there is no operation with the token {token}")
        return Note.decoded(found.value), found

    # ---------------------------------------------------------------- steps

    def _operation(self, note: Note) -> Json | None:
        """What Vertex AI says of the step under way; None where there is nothing to look at."""
        if note.ended or not note.steps[note.at].native:
            return None
        step = note.steps[note.at]
        try:
            return self._builds.look(step.native) if step.call == BUILD else self._api.call("operations.get", name=step.native)
        except NotFoundError:  # operations are kept for a while only: what they made is looked for
            return None

    def _next(self, note: Note, operation: Json | None) -> Note:
        step = note.steps[note.at]
        if operation is None:
            return self._without_operation(note, step)
        if "error" in operation:
            return self._refused(note, step, Refusal.of_status(operation["error"]))
        after = _past(note, _result(step, operation.get("response", {})) or note.result)
        return after if after.ended else self._sent(after, after.steps[after.at])

    def _refused(self, note: Note, step: Step, refusal: Refusal) -> Note:
        """Its operation failed. A call whose answer was lost may have been made twice, and the other may still be under way."""
        made = self._goals[step.call](note, step)
        if made is not None:
            return _past(note, made or note.result)
        if refusal.code == "ALREADY_EXISTS" and self._is_coming(note, step):
            return _changed(note, native="")
        return self._failed(note, refusal.message)

    def _is_coming(self, note: Note, step: Step) -> bool:
        """Whether what is said to exist could not be seen yet: somebody is making it, it may be we, and it may be there by now."""
        kind = step.call.partition(".")[0]
        if step.call not in ("endpoints.create", "modelMonitors.create") or self._clock() - step.sent >= LOOKED_FOR:
            return False
        found = self._look(f"{kind}.get", f"{step.resource}/{kind}/{note.target}")
        return found is None or self._goals[step.call](note, step) is not None

    def _without_operation(self, note: Note, step: Step) -> Note:
        """It was never sent, got no answer, or its operation is forgotten."""
        if (step.native or step.sent) and (made := self._goals[step.call](note, step)) is not None:
            return _past(note, made or note.result)
        if step.call == BUILD and step.sent and (begun := self._builds.find(note.token)):
            return _changed(note, native=begun)
        if step.sent and self._clock() - step.sent < LOOKED_FOR and not _has_own_id(note, step):
            return note
        return self._sent(note, step)

    def _sent(self, note: Note, step: Step) -> Note:
        """Make the call; what is refused because it is done already is done, and what is busy is tried again."""
        try:
            return self._made(note, self._call(note, step))
        except BusyError:
            return note
        except AmbiguousError:
            return _changed(note, sent=self._clock())
        except (ConflictError, InvalidRequestError, NotFoundError) as error:
            is_busy = self._is_busy(step)  # first, as above
            made = self._goals[step.call](note, step)
            if made is not None:
                return _past(note, made or note.result)
            if is_busy or (isinstance(error, ConflictError) and self._is_coming(note, step)):
                return note
            return self._with_what_came(note, step) or self._failed(note, error.message)

    def _with_what_came(self, note: Note, step: Step) -> Note | None:
        """The note of a deletion with what was deployed after it began taken out first; None if that is not in its way."""
        numbers = sorted(self._ids(step)) if step.call == "endpoints.delete" else []
        if not numbers:
            return None
        out = tuple(Step("endpoints.undeployModel", step.resource, {"deployedModelId": number, "trafficSplit": {}}) for number in numbers)
        return replace(note, steps=(*note.steps[: note.at], *out, *note.steps[note.at :]))

    def _call(self, note: Note, step: Step) -> Json:
        if step.call == BUILD:
            return {"name": self._builds.find(note.token) or self._builds.begin(step.body)}
        if step.call == FILES:
            self._api.objects.delete_below(step.resource)
            return {}
        try:
            return self._api.call(step.call, name=step.resource, body=step.body or None, **step.query)
        except (ConflictError, NotFoundError):
            if step.call != "models.upload" or note.kind != "model" or self._uploaded(note, step) is not None:
                raise
            return self._api.call(step.call, name=step.resource, body=_other_way(step, note.target))

    def _made(self, note: Note, answer: Json) -> Note:
        name = str(answer.get("name", ""))
        if "/operations/" not in name and "/builds/" not in name:  # it was done at once
            return _past(note, note.result)
        return _changed(note, native=name)

    def _failed(self, note: Note, reason: str) -> Note:
        """The end; of what makes something, once what it has made so far is gone."""
        if note.undone:
            return replace(note, failed=f"{note.undone} (and not all that was made could be removed: {reason})")
        reason = reason or "it was refused without a reason"
        made = note.steps[: note.at]
        undo = [Step("endpoints.delete", f"{step.resource}/endpoints/{note.target}") for step in made if step.call == "endpoints.create"]
        copies = [step for step in made if step.call == "models.upload" and note.kind != "model"]
        undo += [Step("models.delete", f"{step.resource}/models/{step.body['modelId']}") for step in copies]
        undo += self._unwatched(note) if note.kind == "monitor" else []
        return replace(note, steps=tuple(undo), at=0, undone=reason) if undo else replace(note, failed=reason)

    def _unwatched(self, note: Note) -> list[Step]:
        """What removes a monitor that could not be made whole, and its reference."""
        parent = note.steps[0].resource
        made = [Step("modelMonitors.delete", f"{parent}/modelMonitors/{note.target}", query={"force": True})] if note.at else []
        return [*made, Step(FILES, folder_of(self._api.config, note.token))]

    def _is_busy(self, step: Step) -> bool:
        """Whether another mutation of the same endpoint is under way: docs/spi/vertex.md, (e)."""
        if not step.call.startswith("endpoints.") or step.call == "endpoints.create":
            return False
        found = self._api.call("operations.list", name=step.resource)
        return any(not operation.get("done") for operation in found.get("operations", ()))

    # ---------------------------------------------------------------- goals

    def _built(self, note: Note, step: Step) -> str | None:
        return "" if self._builds.has_tag(step.body["images"][0]) else None

    def _uploaded(self, note: Note, step: Step) -> str | None:
        if note.kind != "model":
            name = f"{step.resource}/models/{step.body['modelId']}"
            return "" if self._look("models.get", name) is not None else None
        name = f"{step.resource}/models/{note.target}"
        listed = self._look("models.listVersions", name, filter=f'labels.mlport_token="{note.token}"') or {}
        return next((str(model["versionId"]) for model in listed.get("models", ())), None)

    def _created(self, note: Note, step: Step) -> str | None:
        found = self._look("endpoints.get", f"{step.resource}/endpoints/{note.target}")
        return note.target if found and found.get("labels", {}).get(TOKEN_LABEL) == note.token else None

    def _deployed(self, note: Note, step: Step) -> str | None:
        return note.target if step.body["deployedModel"]["id"] in self._ids(step) else None

    def _undeployed(self, note: Note, step: Step) -> str | None:
        return note.target if step.body["deployedModelId"] not in self._ids(step) else None

    def _silenced(self, note: Note, step: Step) -> str | None:
        return note.target if not (self._look("endpoints.get", step.resource) or {}).get("trafficSplit") else None

    def _deleted(self, note: Note, step: Step) -> str | None:
        """A copy of a model that another endpoint uses stays."""
        call = step.call.replace(".delete", ".get")
        found = self._look(call, step.resource)
        return note.target if found is None or (call == "models.get" and found.get("deployedModels")) else None

    def _watched(self, note: Note, step: Step) -> str | None:
        found = self._look("modelMonitors.get", f"{step.resource}/modelMonitors/{note.target}")
        return note.target if found and token_of(self._api.config, found) == note.token else None

    def _scheduled(self, note: Note, step: Step) -> str | None:
        listed = self._api.call("schedules.list", parent=step.resource, filter=f'display_name="{step.body["displayName"]}"')
        return note.target if listed.get("schedules") else None

    def _cleared(self, note: Note, step: Step) -> str | None:
        return None if any(self._api.objects.list(step.resource)) else note.target

    def _ids(self, step: Step) -> set[str]:
        found = self._look("endpoints.get", step.resource) or {}
        return {deployed["id"] for deployed in found.get("deployedModels", ())}

    def _look(self, call: str, name: str, **query: Any) -> Json | None:
        try:
            return self._api.call(call, name=name, **query)
        except NotFoundError:
            return None

    # ---------------------------------------------------------------- telling

    @staticmethod
    def _told(note: Note, operation: Json | None) -> OperationStatus:
        if note.failed:
            return OperationStatus(State.FAILED, "error", note.failed)
        if note.ended and note.undone:
            return OperationStatus(State.FAILED, "error", note.undone)
        if note.ended:
            return OperationStatus(State.SUCCEEDED, "done", result=note.result or note.target)
        step = note.steps[note.at]
        stage = str((operation or {}).get("metadata", {}).get("deploymentStage", ""))
        progress = f"{note.at + 1} of {len(note.steps)}: {step.call}{f', {stage}' if stage else ''}"
        return OperationStatus(State.RUNNING, "running" if step.native else "not sent", note.undone, progress=progress)


def _key(token: str) -> str:
    return f"{FOLDER}/{token}"


def _changed(note: Note, **changes: Any) -> Note:
    steps = list(note.steps)
    steps[note.at] = replace(steps[note.at], **changes)
    return replace(note, steps=tuple(steps))


def _past(note: Note, result: str) -> Note:
    return replace(note, at=note.at + 1, result=result)


def _result(step: Step, response: Json) -> str:
    """What a registration made is told by its operation only."""
    return str(response.get("modelVersionId", "")) if step.call == "models.upload" and "modelId" not in step.query else ""


def folder_of(config: VertexConfig, token: str) -> str:
    """Where what is made for a monitor lies."""
    return f"{config.staging}/monitors/{token}"


def token_of(config: VertexConfig, monitor: Json) -> str | None:
    """The token of a monitor that mlport made in this staging folder, None of any other."""
    written, base = str(monitor.get("outputSpec", {}).get("gcsBaseDirectory", {}).get("outputUriPrefix", "")), folder_of(config, "")
    token = written.removeprefix(base).rstrip("/")
    return token if written.startswith(base) and token and "/" not in token else None


def _has_own_id(note: Note, step: Step) -> bool:
    """Whether sending it again collides rather than makes a second one: versions, builds and schedules are numbered by Google."""
    return step.call not in (BUILD, "schedules.create") and (step.call != "models.upload" or note.kind != "model")


def _other_way(step: Step, model: str) -> Json:
    """A first version that is none, or a later one of a model that is gone: what was looked up has changed since."""
    body = {name: value for name, value in step.body.items() if name not in ("modelId", "parentModel")}
    if "modelId" in step.body:
        return {**body, "parentModel": f"{step.resource}/models/{model}"}
    return {**body, "modelId": model}
