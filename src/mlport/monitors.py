"""Monitors: whether what an endpoint is asked has drifted from a reference, whether its answers became worse, and what is done about it.

On any provider that captures, the windows are compared by mlport itself; where a provider has a monitor of its own, that one may measure
instead. Readings, alerts and retraining are the same on both roads. `mlport agent` runs monitors by the clock; `Monitor.run` does it now.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlport.capabilities import Capability, Level
from mlport.endpoints import as_window
from mlport.errors import ConflictError, NotFoundError, SpecError
from mlport.journal import token_for
from mlport.monitoring import windows
from mlport.monitoring.records import Reading, Retraining, plain
from mlport.monitoring.running import Runner, role_of
from mlport.monitoring.stored import LARGEST_SOURCE, Book, Stored
from mlport.operations import finish
from mlport.spi import Facts, MonitorRecord, MonitorState, Operation, Plan, Window

if TYPE_CHECKING:
    import pyarrow as pa

    from mlport.audit.evaluation import Evaluation
    from mlport.bundle import Bundle
    from mlport.client import Client
    from mlport.decay import Performance
    from mlport.drift import Report
    from mlport.drift.decisions import Decision
    from mlport.monitoring.reading.references import Reference
    from mlport.monitoring.specs import MonitorSpec

SECONDS = 1800.0  # for a provider to make or remove one
Clock = Callable[[], datetime]
Road = Literal["native", "composed"]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class MonitorView:
    """A monitor at a glance. `road` says who measures; `next` is when the next window is read, `last` the newest reading."""

    name: str
    endpoint: str
    state: MonitorState
    road: Road
    created: datetime
    next: datetime | None
    last: Reading | None
    reason: str = ""


@dataclass(frozen=True)
class Monitor:
    """A monitor that exists."""

    name: str
    client: Client
    clock: Clock = utc_now

    def __repr__(self) -> str:
        return f"<mlport.Monitor {self.name}>"

    @property
    def spec(self) -> MonitorSpec:
        """What it was asked to do. Raises NotFoundError."""
        return self._stored.spec

    @property
    def view(self) -> MonitorView:
        """How it is now. Raises NotFoundError."""
        return _view(self.client, self._stored)

    def run(self, now: datetime | None = None, on_reading: Callable[[Reading], object] = lambda _: None) -> list[Reading]:
        """Read every window that is due, judge those whose labels came, tell what changed, take retraining a step further.

        Raises:
            ConflictError: another process runs it now.
            MlportError: a window could not be read for now; that was told, and the windows before it are kept.
        """
        clock = self.clock if now is None else lambda: now
        return Runner(self.client, self.name, clock, on_reading).run()

    def read(self, window: Window | timedelta) -> Reading:
        """Read one window now, whatever the schedule says: a span, or a duration back from now. Windows that were read stay as they are.

        A provider's own monitor is asked to measure it, and waited for; it may want whole windows.
        """
        return Runner(self.client, self.name, self.clock).read(as_window(window))

    def readings(self, limit: int | None = None) -> Iterator[Reading]:
        """What was found, newest window first."""
        return islice(self._book.readings(self._stored), limit)

    def retrainings(self) -> Iterator[Retraining]:
        """Every retraining, newest first."""
        return self._book.retrainings(self._stored)

    def retrain(self, why: str = "") -> Retraining:
        """Ask for a retraining now, whatever the cooldown says; `run` takes it on. Raises ConflictError while another goes on."""
        return Runner(self.client, self.name, self.clock).retrain(why)

    def delete(self) -> None:
        """Remove it, with its readings. Models that it made stay."""
        Monitors(self.client).delete(self.name)

    # ---------------------------------------------------------------- looking closer

    def captured(self, window: Window | timedelta, *, labelled: bool = True) -> pa.Table:
        """What was captured, with a column for each feature, `prediction` as it was answered, and with `labelled` the truth."""
        from mlport.labels import join
        from mlport.monitoring.reading.decaying import labels_of
        from mlport.monitoring.reading.taking import flat

        table = self.client.endpoints.get(self.spec.endpoint).captured(as_window(window))
        if table.num_rows == 0:
            return table
        answers = table["prediction"]
        if labelled:
            table = join(table, labels_of(self.client, self._stored))
        found = flat(table)
        return found.set_column(found.schema.get_field_index("prediction"), "prediction", answers)

    def compared(self, window: Window | timedelta) -> tuple[Report, Decision] | None:
        """A window's comparison with the reference, made again with all its numbers; None where too little was captured."""
        from mlport.monitoring.reading.measuring import compare
        from mlport.monitoring.reading.taking import taken

        stored = self._stored
        found = taken(self.client, stored.spec.endpoint, as_window(window), list(stored.columns), stored.spec.kinds)
        return compare(self._book, stored, found) if found.rows >= stored.spec.min_rows else None

    def performance(self, since: Window | timedelta | None = None) -> Performance | None:
        """Performance by windows, on the labels that came so far; None where nothing was captured or labelled."""
        from mlport.labels import join
        from mlport.monitoring.reading.decaying import answered, labels_of, performance

        stored = self._stored
        rows = answered(self.client, stored.spec.endpoint, as_window(since or stored.spec.performance.wait))
        if rows.num_rows == 0:
            return None
        rows = join(rows, labels_of(self.client, stored))
        if rows["label"].null_count == rows.num_rows:
            return None
        return performance(self.client, stored, rows, every=stored.spec.window)

    def evaluation(self, window: Window | timedelta) -> Evaluation | None:
        """The audit of a window's labelled rows, slices and all; None where there are too few."""
        import pyarrow.compute as pc

        from mlport.audit import evaluate

        table = self.captured(window)
        spec = self.spec.performance
        if table.num_rows == 0 or "label" not in table.schema.names:
            return None
        known = table.filter(pc.and_(pc.is_valid(table["label"]), pc.is_valid(table["prediction"])))
        if known.num_rows < spec.min_rows:
            return None
        data = known.to_pandas()
        answers = data["prediction"].tolist()
        two = isinstance(answers[0], list) or getattr(answers[0], "ndim", 0) == 1
        features = data[[name for name in self._stored.columns if name in data and name != "prediction"]]
        return evaluate(
            data["label"],
            [each[-1] for each in answers] if two and len(answers[0]) == 2 else answers,
            slices=features,
            task=spec.task,
            positive=spec.positive,
            threshold=spec.threshold,
            classes=spec.classes if two and len(answers[0]) > 2 else None,
        )

    @property
    def _book(self) -> Book:
        return Book(self.client.session.state)

    @property
    def _stored(self) -> Stored:
        return self._book.get(self.name)


class Monitors:
    """The monitors of one profile."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def plan(self, spec: MonitorSpec) -> Plan:
        """What `create` would do, without doing it."""
        with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
            return self._prepare(spec, Path(folder))[0]

    def create(self, spec: MonitorSpec, *, key: str | None = None) -> Monitor:
        """Make a monitor. The reference is read now; asked again for the same thing, it gives the monitor that is there.

        Raises:
            SpecError: the reference, a column, a threshold or the policy cannot work: what would fail at the first window fails now.
            UnsupportedError: the provider captures nothing, or its own monitor cannot express what is asked.
            NotFoundError: there is no such endpoint.
            ConflictError: a monitor of that name exists and is another.
        """
        client = self._client
        with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
            plan, reference, bundle = self._prepare(spec, Path(folder))
            token = token_for(client.config.target, "monitor", key or f"{spec.monitor_name}/{plan.digest}")
            if self._is_there(spec.monitor_name, token):
                return Monitor(spec.monitor_name, client)
            native = self._made(plan, token, key, reference, Path(folder)) if spec.measured_by == "provider" else ""
            stored = _stored(plan, token, reference, bundle, native)
            source = bundle.path.read_bytes() if bundle else None
            try:
                Book(client.session.state).add(stored, reference.profile, source)
            except ConflictError as error:
                if not self._is_there(spec.monitor_name, token):
                    raise _taken(spec.monitor_name) from error
        return Monitor(spec.monitor_name, client)

    def get(self, name: str) -> Monitor:
        """The monitor of that name. Raises NotFoundError."""
        Book(self._client.session.state).get(name)
        return Monitor(name, self._client)

    def list(self) -> Iterator[MonitorView]:
        """Every monitor, by name."""
        return (_view(self._client, stored) for stored in Book(self._client.session.state).all())

    def delete(self, name: str) -> None:
        """Remove a monitor with its readings; an absent one is fine. Models that it made stay."""
        book = Book(self._client.session.state)
        try:
            stored = book.get(name)
        except NotFoundError:
            return
        if stored.native:
            role = role_of(self._client)
            finish(self._client, role.delete(stored.native_name, token=token_for("", "delete", None)), timeout=SECONDS)
            self._client.journal.forget(stored.token)
        book.remove(name)

    # ---------------------------------------------------------------- making

    def _prepare(self, spec: MonitorSpec, folder: Path) -> tuple[Plan, Reference, Bundle | None]:
        from mlport.monitoring.reading import references
        from mlport.monitoring.reading.measuring import rehearse

        client = self._client
        client.require(*spec.requires())
        spec = _located(spec)
        record = client.session.endpoints.get(spec.endpoint)
        main = max(record.deployments, key=lambda each: each.percent, default=None)
        if main is None:
            raise SpecError(f"MonitorSpec.endpoint: {spec.endpoint} serves no version", hint="deploy one first")
        if record.capture_rate == 0:
            raise SpecError(
                f"MonitorSpec.endpoint: {spec.endpoint} captures nothing, so there is nothing to watch",
                hint="create it with capture = {rate = 1.0}",
            )
        version = client.models.get(main.model, main.version)
        features = references.columns_of(version.record.signature)
        reference = references.read(spec, features, client.objective.metric)
        if spec.measured_by == "mlport":
            rehearse(spec, reference)
        bundle = self._job(spec, folder)
        facts = Facts(
            bundle=bundle.digest if bundle else None,
            bundle_bytes=bundle.bytes if bundle else 0,
            labels=client.stamps(spec.labels, None),
            model=version.facts(),
            endpoint={**plain(record), "created": record.created.isoformat() if record.created else None},
            columns=reference.columns,
        )
        return self._planned(spec, facts), reference, bundle

    def _planned(self, spec: MonitorSpec, facts: Facts) -> Plan:
        """The plan: the provider's, if its own monitor measures; else that mlport makes one in the profile's state."""
        client = self._client
        if spec.measured_by == "provider":
            role = client.require(Capability.MONITOR)[Capability.MONITOR.value]
            if role.level is not Level.NATIVE:
                role_of(client)
            return client.plan(spec, facts)
        met = client.require(*spec.requires())
        resolved = {"road": "composed", "columns": dict(facts.columns), "first_window": windows.first(spec, utc_now()).isoformat()}
        notes = ("mlport compares what was captured with the reference; `mlport agent`, or `mlport monitors run`, must be there to do it",)
        name = spec.monitor_name
        return Plan(client.provider.name, client.config.target, "monitor", name, spec.to_json(), facts, (), met, resolved, notes)

    def _job(self, spec: MonitorSpec, folder: Path) -> Bundle | None:
        """The packed source of the policy's job, which is checked as if it were submitted now."""
        if spec.retrain is None:
            return None
        if spec.retrain.budget is not None:
            from mlport.costs.at_work.budgets import budget

            budget(spec.retrain.budget, "MonitorSpec.retrain.budget")
        _, bundle = self._client.jobs.prepare(spec.retrain.job, folder)
        if bundle is not None and bundle.bytes > LARGEST_SOURCE:
            raise SpecError(
                f"MonitorSpec.retrain.job.source: is {bundle.bytes:,} bytes packed, and a monitor keeps {LARGEST_SOURCE:,} at most",
                hint="leave data out of the source (.mlportignore), and name them as inputs",
            )
        return bundle

    def _made(self, plan: Plan, token: str, key: str | None, reference: Reference, folder: Path) -> str:
        """The provider's own monitor; its name there."""
        from mlport.monitoring.reading.references import table

        client, role = self._client, role_of(self._client)
        path = table(reference, folder / "reference.parquet")
        operation = client.journal.once(
            token,
            plan,
            send=lambda: role.create(plan, token=token, reference=path),
            find=lambda: role.find(token),
            name=lambda made: made.id,
            recall=lambda made: Operation(made, plan.kind, plan.name),
            find_lag=client.session.find_lag,
            key=key,
        )
        return finish(client, operation, timeout=SECONDS).result or plan.name

    def _is_there(self, name: str, token: str) -> bool:
        """Whether just this monitor exists. Raises ConflictError when another has its name."""
        try:
            found = Book(self._client.session.state).get(name)
        except NotFoundError:
            return False
        if found.token != token:
            raise _taken(name)
        return True


def _stored(plan: Plan, token: str, reference: Reference, bundle: Bundle | None, native: str) -> Stored:
    from mlport.monitoring.specs import MonitorSpec

    spec, now = MonitorSpec.model_validate(plan.spec), utc_now()
    return Stored(
        spec,
        token,
        plan.digest,
        created=now,
        handled=windows.first(spec, now),
        clocked=now,
        reference={"uri": reference.uri, "identity": reference.identity, "rows": reference.profile.rows},
        columns=dict(reference.columns),
        baseline=reference.baseline.to_json() if reference.baseline else None,
        code=Facts(bundle=bundle.digest if bundle else None, bundle_bytes=bundle.bytes if bundle else 0),
        native_name=native,
        labels={name: str(value) for name, value in plan.facts.labels.items()},
    )


def _view(client: Client, stored: Stored) -> MonitorView:
    last = next(Book(client.session.state).readings(stored), None)
    road: Road = "native" if stored.native else "composed"
    record = _record(client, stored)
    reason = record.reason or (f"it cannot be read for now: {stored.known.failed}" if stored.known.failed else "")
    following = record.next if stored.native else windows.next_due(stored.spec, stored.handled)
    if not reason and following is not None and following < utc_now() - timedelta(minutes=5):
        reason = f"waits for `mlport agent` since {following.isoformat()}"
    return MonitorView(stored.name, stored.spec.endpoint, record.state, road, stored.created, following, last, reason)


def _record(client: Client, stored: Stored) -> MonitorRecord:
    if not stored.native:
        return MonitorRecord(stored.name, MonitorState.ACTIVE, "ACTIVE", stored.created)
    with suppress(NotFoundError):
        return role_of(client).get(stored.native_name)
    why = f"{client.provider.name} has no such monitor any more"
    return MonitorRecord(stored.name, MonitorState.FAILED, "NOT_FOUND", stored.created, reason=why)


def _located(spec: MonitorSpec) -> MonitorSpec:
    """The same with absolute paths."""
    from mlport.jobs import located
    from mlport.transfer import absolute

    changed: dict[str, Any] = {"reference": absolute(spec.reference)}
    if spec.labels_from is not None:
        changed["labels_from"] = absolute(spec.labels_from)
    if spec.retrain is not None:
        changed["retrain"] = spec.retrain.model_copy(update={"job": located(spec.retrain.job)})
    return spec.model_copy(update=changed)


def _taken(name: str) -> ConflictError:
    return ConflictError(
        f"a monitor {name!r} exists already, and is another", hint=f"choose another name, or delete it first: mlport monitors delete {name}"
    )
