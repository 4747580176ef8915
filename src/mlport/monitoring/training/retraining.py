"""Retraining, one step at a time: train, register, score, judge, hand over. Each step is done once, whoever is killed between two.

A step looks, does what is due, and says what the retraining is then; it waits for nobody. What it starts has a key made of the monitor's
token and the retraining's id, so that a step taken again finds what the first try began.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlport import labels
from mlport.capabilities import Capability
from mlport.errors import AuthenticationError, BudgetError, ConflictError, MlportError, NotFoundError, PermissionDeniedError, UsageError
from mlport.jobs import Job, again_later, secrets_of
from mlport.journal import token_for
from mlport.monitoring.reading import decaying
from mlport.monitoring.reading.taking import ANSWERED, flat, listening, once
from mlport.monitoring.records import Phase, Reading, Retraining, Verdict
from mlport.monitoring.training import gate
from mlport.monitoring.training.policy import Wish, held_out
from mlport.spi import EndpointState, State, Window

if TYPE_CHECKING:
    import pyarrow as pa

    from mlport.client import Client
    from mlport.costs.at_work.budgets import Run
    from mlport.models import ModelVersion
    from mlport.monitoring.specs import RetrainPolicy
    from mlport.monitoring.stored import Book, Stored
    from mlport.specs import JobSpec

LABEL = "mlport_monitor"
CHALLENGER = "challenger"
STAMP = "%Y%m%dt%H%M%S%f"
IDS = {"mlport_request": "provider_id", "mlport_row": "row"}
"""Whose row it is, under names that neither a model nor a batch has."""
KEYS = tuple(IDS)
CHAMPION = "mlport_champion"
log = logging.getLogger("mlport.monitor")


@dataclass(frozen=True)
class Trainer:
    """Takes the retrainings of one monitor forward."""

    client: Client
    book: Book
    monitor: Stored
    now: datetime

    @property
    def policy(self) -> RetrainPolicy:
        found = self.monitor.spec.retrain
        assert found is not None  # noqa: S101 - that is why we are here
        return found

    # ---------------------------------------------------------------- beginning

    def begin(self, wanted: Wish, readings: Sequence[Reading]) -> Retraining:
        """Decide on a retraining; one that cannot be judged or paid for is refused at once, before anything is spent."""
        window = held_out(self.policy, readings)
        held = window or Window(self.now, self.now)
        spans = Window(held.start - self.policy.data_window, held.start), held
        made = Retraining(self.now.strftime(STAMP), self.monitor.name, self.now, wanted.trigger, wanted.why, wanted.causes, "due", *spans)
        if window is None:
            made = self._end(made, "refused", "no window has labels enough to judge a challenger by: nothing was trained")
        elif why := self._over_budget():
            made = self._end(made, "refused", why)
        else:
            made = replace(made, champion=self._champion())
        self.book.begin(self.monitor, made)
        return made

    def step(self, one: Retraining) -> Retraining:
        """The next state of a retraining that goes on. What cannot work ends it; what may work later raises, and is tried again."""
        steps = {"due": self._train, "training": self._trained, "scoring": self._scored, "judged": self._hand_over}
        try:
            after = steps[one.phase](one)
        except BudgetError as error:
            after = self._end(one, "refused", error.message)
        except UsageError as error:
            after = self._end(one, "failed", str(error))
        except MlportError as error:
            if again_later(error) or isinstance(error, AuthenticationError | PermissionDeniedError):
                raise  # whether we may look says nothing of the training
            after = self._end(one, "failed", str(error))
        if after != one:
            self.book.went_on(self.monitor, one, after)
        return after

    def tidy(self, one: Retraining) -> None:
        """Remove the rows and scores of one that is over."""
        shutil.rmtree(self._folder(one), ignore_errors=True)

    # ---------------------------------------------------------------- steps

    def _train(self, one: Retraining) -> Retraining:
        rows, spec = self._job(one)
        if rows == 0:
            return self._end(one, "failed", "no labelled rows to train on were captured before those held out")
        with tempfile.TemporaryDirectory(prefix="mlport-") as folder:
            plan = self.client.plan(spec, self.client.jobs.facts(spec, self.monitor.code))
            source = self.book.source(self.monitor)
            bundle = Path(folder) / "source.tar.gz"
            if source is not None:
                bundle.write_bytes(source)
            job = self.client.jobs.send(
                plan,
                token=self._token("job", one),
                bundle=bundle if source is not None else None,
                secrets=secrets_of(spec),
                replan=True,
            )
        return replace(one, phase="training", job=job, rows=rows)

    def _job(self, one: Retraining) -> tuple[int | None, JobSpec]:
        """The job of this retraining, with its data, and how many rows these are."""
        policy, rows, inputs = self.policy, None, {}
        if policy.data is not None:
            path = self._folder(one) / "rows.parquet"
            rows = self._write(path, self._rows(one.data, one.decided), (self.policy.label,))
            inputs = {policy.data: str(path)}
        return rows, policy.job.model_copy(
            update={
                "inputs": {**policy.job.inputs, **inputs},
                "labels": {**self.monitor.spec.labels, **policy.job.labels, LABEL: self.monitor.name, f"{LABEL}_retraining": one.id},
                "env": {
                    **policy.job.env,
                    "MLPORT_DATA_START": one.data.start.isoformat(),
                    "MLPORT_DATA_END": one.data.end.isoformat(),
                },
            }
        )

    def _trained(self, one: Retraining) -> Retraining:
        job = Job(str(one.job), self.client)
        status = job.status()
        if not status.state.terminal:
            return one
        if status.state is not State.SUCCEEDED:
            return self._end(one, "failed", f"its job {status.id} ended {status.state}: {status.reason}")
        version = self._registered(one, job)
        made = replace(one, model=version.name, version=version.version)
        return replace(made, phase="scoring", scoring=self._score(made))

    def _registered(self, one: Retraining, job: Job) -> ModelVersion:
        because = {
            "monitor": self.monitor.name,
            "retraining": one.id,
            "trigger": one.trigger,
            "why": one.why,
            "readings": list(one.causes),
            "data": {"start": one.data.start.isoformat(), "end": one.data.end.isoformat(), "rows": one.rows},
        }
        name = str(one.champion).partition(":")[0]
        return self.client.models.register(name, from_job=job, output=self.policy.output, because=because)

    def _score(self, one: Retraining) -> str:
        """Score the rows held out with the challenger, as a batch; its id."""
        from mlport.specs import BatchSpec, ModelRef

        folder = self._folder(one)
        rows = folder / "held-out.parquet"
        self._write(rows, self._rows(one.held_out, one.decided), KEYS)
        spec = BatchSpec(
            name=f"{self.monitor.name}-gate"[:63].rstrip("-"),
            model=ModelRef(name=str(one.model), version=str(one.version)),
            input=str(rows),
            output=str(folder / "scored"),
            keep=KEYS,
            compute=self.policy.compute,
            labels={LABEL: self.monitor.name, f"{LABEL}_retraining": one.id},
        )
        return self.client.jobs.submit(spec, key=f"monitor {self.monitor.token} {one.id} score").id

    def _scored(self, one: Retraining) -> Retraining:
        job = Job(str(one.scoring), self.client)
        status = job.status()
        if not status.state.terminal:
            return one
        if status.state is not State.SUCCEEDED:
            return self._end(one, "failed", f"scoring it failed: job {status.id} ended {status.state}: {status.reason}")
        found = self._verdict(one)
        if self.client.can(Capability.MODEL_TAGS):
            self.client.models.get(str(one.model), one.version).tag(monitor=self.monitor.name, gate="passed" if found.passed else "refused")
        judged = replace(one, verdict=found)
        if not found.passed:
            return self._end(judged, "refused", "; ".join(found.reasons))
        return replace(judged, phase="judged")

    def _verdict(self, one: Retraining) -> Verdict:
        import pyarrow.parquet as pq

        held = self._rows(one.held_out, one.decided)
        if held is None:
            return Verdict(False, "", 0, one.held_out, reasons=("the rows held out are gone from the capture",))
        truth = held.select([*KEYS, self.policy.label, CHAMPION]).to_pandas()
        files = sorted((self._folder(one) / "scored").rglob("*.parquet"))
        if not files:
            raise NotFoundError(f"the scores of {one.model}:{one.version} are not in {self._folder(one)}", hint="another machine ran this")
        scored = pq.read_table(files).to_pandas()
        together = truth.merge(scored[[*KEYS, "prediction"]], on=list(KEYS), how="left")
        sides = together[self.policy.label], together["prediction"], together[CHAMPION]
        return gate.verdict(*sides, self.policy.gate, self.monitor.spec.performance, self.client.objective, one.held_out)

    def _hand_over(self, one: Retraining) -> Retraining:
        """Give the challenger its alias, and a deployment at 0 %, from where a rollout takes it."""
        version = self.client.models.get(str(one.model), one.version)
        version.alias(CHALLENGER)
        if self.policy.hand_over == "register":
            return self._end(one, "handed over", f"{version.name}:{version.version} is @{CHALLENGER}")
        endpoint = self.client.endpoints.get(self.monitor.spec.endpoint)
        name = f"v{version.version}"
        there = next((each for each in endpoint.deployments if (each.model, each.version) == (version.name, version.version)), None)
        if there is None:
            there = endpoint.deploy(version, name=name, compute=self.policy.compute)
        if there.state in (EndpointState.CREATING, EndpointState.UPDATING, EndpointState.UNKNOWN):
            return one  # who began it was killed
        done = replace(one, deployment=there.name)
        if there.state in (EndpointState.FAILED, EndpointState.DELETING):
            return self._end(done, "failed", f"its deployment {there.name} is {there.state}: {there.reason}")
        return self._end(
            done, "handed over", f"{version.name}:{version.version} is deployed as {there.name} at {there.percent} %, for a rollout"
        )

    # ---------------------------------------------------------------- parts

    def _end(self, one: Retraining, phase: Phase, why: str) -> Retraining:
        return replace(one, phase=phase, reason=why, ended=self.now)

    def _token(self, kind: str, one: Retraining) -> str:
        return token_for(self.client.config.target, kind, f"monitor {self.monitor.token} {one.id}")

    def _champion(self) -> str:
        """The version that has most of the traffic, as `name:version`."""
        found = max(self.client.session.endpoints.get(self.monitor.spec.endpoint).deployments, key=lambda each: each.percent)
        return f"{found.model}:{found.version}"

    def _folder(self, one: Retraining) -> Path:
        """Where rows and scores lie until it is over."""
        home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
        return home / "mlport-monitors" / self.monitor.token / one.id

    def _rows(self, window: Window, as_of: datetime) -> pa.Table | None:
        """Labelled rows of a window: a column for each feature, the label, ids, and what the champion answered. None where there are none."""
        with listening() as lost:
            captured = self.client.endpoints.get(self.monitor.spec.endpoint).captured(window)
        for note in lost:
            log.warning("monitor %s: %s", self.monitor.name, note.message)
        if captured.num_rows == 0:
            return None
        return _labelled(labels.join(captured, decaying.labels_of(self.client, self.monitor, as_of)), self.policy.label)

    def _write(self, path: Path, rows: pa.Table | None, besides: Sequence[str]) -> int:
        """Write the features and some of the other columns as Parquet; how many rows that were."""
        import pyarrow.parquet as pq

        if rows is None:
            return 0
        aside = {self.policy.label, *KEYS, CHAMPION} - set(besides)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows.select([name for name in rows.schema.names if name not in aside]), path)
        return int(rows.num_rows)

    def _over_budget(self) -> str:
        """Why a training does not fit into what trainings may cost in this month; empty where it does."""
        from mlport.costs.at_work.budgets import budget, decide, month_of, spent
        from mlport.costs.at_work.frozen import Frozen

        if self.policy.budget is None:
            return ""
        limit = budget(self.policy.budget, "RetrainPolicy.budget")
        first, _ = month_of(self.now)
        before = [each for each in self.book.retrainings(self.monitor) if each.decided >= first]
        runs = [run for each in before for job in (each.job, each.scoring) if job and (run := self._run(job))]
        policy = self.policy.job
        facts = self.client.jobs.facts(policy, self.monitor.code)
        price = self.client.plan(policy, facts).facts.price
        planned = Frozen.from_json(price) if price else None
        found = decide(limit, spent(runs, self.now), planned)
        return f"over the policy's budget: {found.words}" if found.verdict == "refuse" else ""

    def _run(self, job: str) -> Run | None:
        from mlport.costs.at_work.budgets import Run

        try:
            status = self.client.session.jobs.status(job)
        except NotFoundError:
            return None
        return Run(self.client.costs.frozen(status), status.started, status.ended) if status.started else None


def _labelled(table: pa.Table, label: str) -> pa.Table:
    """The labelled rows that were answered and could be taken apart, each once, in an order that is always the same."""
    import pyarrow.compute as pc

    known = pc.and_(pc.is_valid(table["label"]), pc.and_(pc.is_null(table["raw"]), pc.fill_null(pc.less(table["status"], ANSWERED), True)))
    rows = once(table.filter(known)).sort_by([("time", "ascending"), ("provider_id", "ascending"), ("row", "ascending")])
    features = flat(rows.select(["features"]))
    if clash := sorted({label, *KEYS, CHAMPION} & set(features.schema.names)):
        raise ConflictError(f"the model has a feature named {', '.join(clash)}", hint="choose another RetrainPolicy.label")
    for name, column in ((label, "label"), *IDS.items(), (CHAMPION, "prediction")):
        features = features.append_column(name, rows[column])
    return features
