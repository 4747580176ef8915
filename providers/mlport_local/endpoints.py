"""Endpoints on your own machine: a router on one stable address, a model server for each deployment, kept alive.

Decisions: a deployment with traffic is not undeployed, the last one included: delete the endpoint instead. Deleting an
endpoint keeps what was captured, under the endpoint's name, until `purge`. A creation that fails leaves no endpoint.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.errors import ConfigError, ConflictError, NotFoundError, SpecError, stamped
from mlport.faults import fault
from mlport.spi import Answer, EndpointRecord, Json, Observation, Operation, Page, Plan, Query, Window
from mlport.traffic import check_shares
from mlport.waiting import delays, wait_until
from mlport_local.config import LocalConfig
from mlport_local.engine.database import translated
from mlport_local.locks import held
from mlport_local.serving import attendance, calls, keys, served_models
from mlport_local.serving.endpoint_records import record_of
from mlport_local.serving.endpoint_state import Desired, Key, Limits, Tls, is_name
from mlport_local.serving.endpoint_store import EndpointStore, Mutation, Row
from mlport_local.serving.observe import observation
from mlport_local.serving.tls import Certificate

if TYPE_CHECKING:
    import pyarrow as pa

KEY_GRACE = timedelta(hours=1)
ROTATE_SECONDS = 60.0


@stamped("local", "endpoints")
class LocalEndpoints:
    """The endpoints of one root. Every look sees to it that the endpoint's keeper is at work."""

    def __init__(self, config: LocalConfig) -> None:
        self._layout = config.layout
        self._store = EndpointStore(config.layout)
        self._phone = calls.Phone(config.ca)

    def close(self) -> None:
        self._store.close()
        self._phone.close()

    # -------------------------------------------------------------- making

    def create(self, plan: Plan, *, token: str) -> Operation:
        """Begin to make an endpoint; it is there when the operation has succeeded.

        Raises:
            ConflictError: an endpoint of that name exists.
            InputChangedError: the model's files are not those of the plan.
            UnavailableError: the disk is full or read-only.
        """
        body = plan.requests[0].body
        with translated(self._layout.root), held(self._lock(body["endpoint"])):
            return self.find(token) or self._begun(self._create(body, token))

    def _create(self, body: Json, token: str) -> Mutation:
        name, deployment = body["endpoint"], body["deployment"]["name"]
        self._store.refuse_taken(name)
        tls = Tls(**body["tls"]) if body["tls"] else None
        if tls:
            _refuse_unusable(tls)
        folder = self._folder(name)
        with served_models.copied(body["deployment"], folder) as deployed:
            known: tuple[Key, ...] = ()
            if body["auth"] == "key":
                key = keys.generate()
                keys.write(folder, key)
                fault("after-key-written")
                known = (Key(keys.digest(key)),)
            desired = Desired(
                host=body["host"],
                port=0,
                auth=body["auth"],
                capture_rate=body["capture_rate"],
                labels=body["labels"],
                keys=known,
                deployments={deployment: deployed},
                split=body["split"],
                tls=tls,
                limits=Limits(**body["limits"]),
            )
            return self._store.create(name, desired, token=token, deployment=deployment)

    def deploy(self, plan: Plan, *, token: str) -> Operation:
        """Begin to add a deployment, at 0 percent.

        Raises:
            ConflictError: a deployment of that name is there.
            BusyError: another mutation of the endpoint is under way.
        """
        body = plan.requests[0].body
        name, deployment = body["endpoint"], body["deployment"]["name"]
        if found := self.find(token):
            return found
        _refuse_present(self._store.get(name).desired, name, deployment)

        def add(desired: Desired) -> Desired:
            _refuse_present(desired, name, deployment)
            return replace(desired, deployments={**desired.deployments, deployment: deployed}, split={**desired.split, deployment: 0})

        with served_models.copied(body["deployment"], self._folder(name)) as deployed:
            made = self._store.change(name, add, kind="deploy", token=token, deployment=deployment)
        return self._begun(made)

    def find(self, token: str) -> Operation | None:
        found = self._store.find(token)
        return self._begun(found) if found else None

    def _begun(self, mutation: Mutation) -> Operation:
        if mutation.state == "RUNNING":
            attendance.ensure(self._layout, mutation.name)
        return Operation(mutation.id, mutation.kind, mutation.name)

    # -------------------------------------------------------------- changing

    def set_traffic(self, name: str, split: Mapping[str, int], *, token: str, etag: str | None = None) -> Operation:
        """Set the whole split. Requests under way end where they are; none is lost.

        Raises:
            SpecError: shares that are no whole percents, or do not sum to 100.
            ConflictError: the split does not name exactly the deployments that there are, or `etag` is no longer right.
        """
        check_shares(split)

        def shift(desired: Desired) -> Desired:
            if set(split) != set(desired.deployments):
                raise ConflictError(
                    f"the split names {sorted(split)}, and {name!r} has {sorted(desired.deployments)}",
                    hint="name each deployment, with 0 for none",
                )
            return replace(desired, split=dict(split))

        return self._begun(self._store.change(name, shift, kind="set_traffic", token=token, etag=etag))

    def undeploy(self, name: str, deployment: str, *, token: str) -> Operation:
        """Take a deployment out, once the requests that it has are answered. An absent one is fine.

        Raises:
            ConflictError: it has traffic.
        """
        row = self._store.look(name)
        if row is None or deployment not in row.desired.deployments:
            return self._begun(self._store.note(name, kind="undeploy", token=token))

        def take_out(desired: Desired) -> Desired:
            if share := desired.split.get(deployment):
                hint = "delete the endpoint instead" if len(desired.deployments) == 1 else "give its traffic to others first"
                raise ConflictError(f"deployment {deployment!r} of {name!r} has {share} % of the traffic", hint=hint)
            return desired.without(deployment)

        return self._begun(self._store.change(name, take_out, kind="undeploy", token=token, deployment=deployment))

    def delete(self, name: str, *, token: str) -> Operation:
        """Answer what is under way, then stop and remove everything but what was captured. An absent endpoint is fine."""
        if self._store.look(name) is None:
            self._clear(name)
            return self._begun(self._store.note(name, kind="delete", token=token))
        self._phone.forget(name)
        return self._begun(self._store.change(name, lambda desired: replace(desired, deleted=True), kind="delete", token=token))

    def _clear(self, name: str) -> None:
        """Remove what a creation left that was killed before the endpoint was there."""
        folder = self._folder(name)
        with translated(folder), held(self._lock(name)):
            if self._store.look(name) is None and folder.is_dir():
                attendance.remove_files(folder)

    def _lock(self, name: str) -> Path:
        return self._layout.root / "locks" / f"endpoint-{name}"

    def _folder(self, name: str) -> Path:
        """Raises SpecError for what is no name: it must not become a path that leads elsewhere."""
        if not is_name(name):
            raise SpecError(f"{name!r} is no endpoint's name", hint="lower-case letters, digits and hyphens, starting with a letter")
        return self._layout.endpoint(name)

    def purge(self, name: str) -> None:
        """Remove what was captured from an endpoint that is deleted. Raises ConflictError while it exists."""
        folder = self._folder(name)
        if self._store.look(name):
            raise ConflictError(f"endpoint {name!r} exists", hint="delete it first")
        shutil.rmtree(folder, ignore_errors=True)

    def rotate_key(self, name: str, *, token: str, grace: timedelta = KEY_GRACE) -> str:
        """A new key, good once this returns; the old ones are for `grace` longer. It is also kept for this user's own calls.

        Raises:
            ConflictError: the endpoint asks for no key.
            BusyError: another mutation is under way.
        """
        folder, until = self._folder(name), time.time() + grace.total_seconds()
        if self._store.get(name).desired.auth != "key":
            raise ConflictError(f"endpoint {name!r} asks for no key")
        done = self._store.find(token)
        if done is not None and done.state == "SUCCEEDED" and not keys.is_prepared(folder, token):
            return self._key(name)
        with translated(folder):
            key = keys.prepared(folder, token)
        fault("after-key-prepared")

        def rotate(desired: Desired) -> Desired:
            old = [
                replace(known, until=min(known.until or until, until))
                for known in desired.keys
                if known.until is None or known.until > time.time()
            ]
            return replace(desired, keys=(Key(keys.digest(key)), *old))

        made = self._store.change(name, rotate, kind="rotate_key", token=token)
        self._begun(made)
        wait_until(
            lambda: self._store.mutation(made.id),
            lambda seen: seen is None or seen.state != "RUNNING",
            pauses=delays(first=0.01, ceiling=0.2),
            timeout=ROTATE_SECONDS,
            what=f"the new key of endpoint {name}",
        )
        keys.adopt(folder, token)
        self._phone.forget(name)
        return key

    # -------------------------------------------------------------- looking

    def get(self, name: str) -> EndpointRecord:
        row = self._store.get(name)
        attendance.ensure(self._layout, name)
        return record_of(row)

    def list(self, query: Query, page: str | None = None) -> Page[EndpointRecord]:
        """Endpoints by name; the page token is the last name seen."""
        found: list[Row] = []
        last = page if page is not None else ""
        while len(found) <= query.page_size:
            rows = self._store.after(last, query.page_size + 1)
            found += [row for row in rows if _wanted(row, query)]
            if len(rows) <= query.page_size:
                break
            last = rows[-1].name
        shown = found[: query.page_size]
        for row in shown:
            attendance.ensure(self._layout, row.name)
        return Page([record_of(row) for row in shown], shown[-1].name if len(found) > query.page_size else None)

    def reconcile(self) -> None:
        """See that every endpoint's keeper is at work, for example after a reboot."""
        last = ""
        while rows := self._store.after(last, 100):
            for row in rows:
                attendance.ensure(self._layout, row.name)
            last = rows[-1].name

    def headers(self, name: str, *, method: str = "POST", path: str = "", body: bytes | None = None) -> Mapping[str, str]:
        """The key, as this user's file has it."""
        if self._store.get(name).desired.auth != "key":
            return {}
        return {"authorization": f"Bearer {self._key(name)}"}

    def _key(self, name: str) -> str:
        now = time.time()
        known = [key.sha256 for key in self._store.get(name).desired.keys if key.until is None or key.until > now]
        key = keys.good(self._folder(name), known)
        if key is None:
            raise NotFoundError(f"the key of endpoint {name!r} is not kept here", hint="rotate_key makes a new one")
        return key

    # -------------------------------------------------------------- what passes

    def predict(
        self, name: str, rows: Sequence[Json], *, deployment: str | None = None, request_id: str | None = None, timeout: float = 60.0
    ) -> Answer:
        """Ask for predictions. An endpoint whose router is not there is looked after, and asked once more.

        Raises:
            SpecError: rows that lack columns which others have, or hold what JSON cannot.
            PredictionError: any answer but 2xx, or none; with the status and the request id.
        """
        return self._phone.predict(name, self._line, rows, deployment=deployment, caller_id=request_id, timeout=timeout)

    def _line(self, name: str) -> calls.Address:
        record = self.get(name)
        return calls.Address(record.url, dict(self.headers(name)))

    def captured(self, name: str, window: Window) -> Iterator[pa.RecordBatch]:
        """What was kept, of a deleted endpoint too."""
        from mlport.capture import read

        folder = self._folder(name) / "capture"
        if not folder.is_dir():
            self._store.get(name)
            return iter(())
        return read(folder, window.start, window.end)

    def observe(self, name: str, window: Window) -> Observation:
        self._store.get(name)
        attendance.ensure(self._layout, name)
        return observation(self._folder(name) / "observed", window)


def _refuse_unusable(tls: Tls) -> None:
    try:
        Certificate(Path(tls.certificate), Path(tls.key))
    except OSError as error:
        raise ConfigError(
            f"certificate {tls.certificate} with certificate_key {tls.key}: {error}", hint="give the two PEM files of one pair"
        ) from error


def _refuse_present(desired: Desired, name: str, deployment: str) -> None:
    if deployment in desired.deployments:
        raise ConflictError(f"endpoint {name!r} has a deployment {deployment!r}", hint="choose another name, or undeploy that one first")


def _wanted(row: Row, query: Query) -> bool:
    return (query.name is None or row.name == query.name) and all(
        row.desired.labels.get(key) == value for key, value in query.labels.items()
    )
