"""aiplatform: batch prediction jobs. Each has a model server of its own at the engine, and is really scored through it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mlport.faults import fault
from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.long_running import INTERNAL
from mlport_vertex.emulator.protocol.resources import moment as parsed
from mlport_vertex.emulator.protocol.resources import new_id, normal
from mlport_vertex.emulator.protocol.rules import check_resource
from mlport_vertex.emulator.storing.object_records import StorageError
from mlport_vertex.emulator.storing.registry import Registry
from mlport_vertex.emulator.working import batch_io, batch_rules
from mlport_vertex.emulator.working.batch_output import Target, TwoTables, target_of
from mlport_vertex.emulator.working.batch_scoring import Scoring
from mlport_vertex.emulator.working.jobs_common import Noun, refuse_over_quota
from mlport_vertex.emulator.working.jobs_common import handlers as common
from mlport_vertex.emulator.working.serving import Serving, contract, engine_name

Json = dict[str, Any]
KIND, UNFINISHED = "batchPredictionJobs", "unfinishedBatches"
ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")
BATCH_SIZE = 64  # aiplatform.v1, ManualBatchTuningParameters.batchSize
SECONDS = 600.0  # for the answer to one batch
JSON_TYPE = {"content-type": "application/json"}


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    batch = Batch(place)
    place.chore(batch.push)
    noun = Noun(KIND, "BatchPredictionJob", ENDED, batch.look, batch.cancel, batch.forget)
    return {**common(place, noun), f"aiplatform.projects.locations.{KIND}.create": batch.create}


class Batch:
    """What the methods do, and the work behind them.

    A document of the kind `unfinishedBatches` goes with each job that has not ended: `{"name", "container", "artifacts",
    "engine", "cancelled", "writes"}`. `writes`: it had begun to put its results where they belong.
    """

    def __init__(self, place: Place) -> None:
        self._place, self._registry, self._serving = place, Registry(place), Serving(place)

    def create(self, request: Request) -> Json:
        refuse_over_quota(request)
        body = dict(request.body)
        check_resource(batch_rules.FIELD, body)
        container, artifacts, of_model = batch_rules.model_of(self._registry, body)
        batch_rules.check(body)
        name, moment = f"{normal(request.parent)}/{KIND}/{new_id(self._place)}", now()
        job = {**body, **of_model, "name": name, "state": "JOB_STATE_PENDING", "createTime": moment, "updateTime": moment}
        work = {"name": name, "container": container, "artifacts": artifacts, "engine": engine_name(name)}
        with self._place.documents.together():
            self._place.documents.insert(KIND, name, job)
            self._place.documents.insert(UNFINISHED, name, work)
        return job

    # ---------------------------------------------------------------- for `Noun`

    def look(self, name: str) -> Json | None:
        return self._place.documents.get(KIND, name)

    def cancel(self, name: str) -> None:
        self._place.documents.change(UNFINISHED, name, lambda work: {**work, "cancelled": True})
        self._change(name, lambda job: None if job["state"] in ENDED else {**job, "state": "JOB_STATE_CANCELLING"})

    def forget(self, name: str) -> bool:
        """Whether it is gone: one whose model server is still ending is not."""
        if self._place.documents.get(UNFINISHED, name) is not None:
            return False
        self._place.documents.delete(KIND, name)
        return True

    # ---------------------------------------------------------------- the work

    def push(self) -> None:
        """Go on with every job that has not ended; the oldest first."""
        for _, work in list(self._place.documents.list(UNFINISHED))[::-1]:
            failed = partial(self._end, work["name"], "JOB_STATE_FAILED", error=INTERNAL.rpc())
            self._place.operations.background(work["name"], partial(self._go_on, work["name"]), failed)

    def _go_on(self, name: str) -> None:
        work, job = self._place.documents.get(UNFINISHED, name), self.look(name)
        if work is None or job is None:
            return
        if job["state"] in ENDED:
            if self._serving.stop(work["engine"]):
                self._place.documents.delete(UNFINISHED, name)
            return
        try:
            self._work(work, job)
        except ApiError as error:
            if self._place.operations.ending.is_set():
                return
            self._end(name, "JOB_STATE_CANCELLED" if error.code == "CANCELLED" else "JOB_STATE_FAILED", error=error.rpc())
        except StorageError as error:
            self._end(name, "JOB_STATE_FAILED", error=ApiError("NOT_FOUND", error.message).rpc())

    def _work(self, work: Json, job: Json) -> None:
        """Score everything, once the model answers; a killed emulator begins again."""
        self._stop_if_asked(job["name"])
        container = work["container"]
        env = contract(job["name"], "0", container, work["artifacts"], job["dedicatedResources"]["machineSpec"].get("machineType", ""))
        if not self._serving.start(work["engine"], container, work["artifacts"], env):
            return
        self._change(job["name"], _running)
        target = target_of(self._place.objects, lambda: self._place.tables, job, self._title(job))
        if not work.get("writes"):
            target.prepare()
        folder = self._place.folder / "batches" / work["engine"]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        ask = partial(self._ask, work["engine"], env["AIP_PREDICT_ROUTE"], job.get("modelParameters"))
        try:
            scoring = Scoring(ask, folder, partial(self._stop_if_asked, job["name"]))
            if scoring.run(self._sources(job), job.get("manualBatchTuningParameters", {}).get("batchSize") or BATCH_SIZE):
                self._finish(job, scoring, target, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _sources(self, job: Json) -> Sequence[batch_io.Read]:
        source, config = job["inputConfig"], job.get("instanceConfig", {})
        if table := batch_io.table_of(source.get("bigquerySource", {}).get("inputUri", "")):
            return [batch_io.rows(self._place.tables, table, config)]
        files = batch_io.inputs(self._place.objects, source["gcsSource"]["uris"])
        return [batch_io.instances(file, source["instancesFormat"], config, self._place.objects) for file in files]

    def _finish(self, job: Json, scoring: Scoring, target: Target, folder: Path) -> None:
        """Results first, then the state that says that they are there."""
        self._stop_if_asked(job["name"])
        stats = {"successfulCount": str(scoring.good), "failedCount": str(scoring.bad), "incompleteCount": "0"}
        told: Json = {"completionStats": stats, **({"partialFailures": scoring.failures} if scoring.failures else {})}
        if isinstance(target, TwoTables):
            self._begin_to_write(job["name"], target)
        told["outputInfo"] = target.write(folder)
        fault("after-batch-output")
        if scoring.bad and not scoring.good:
            self._end(job["name"], "JOB_STATE_FAILED", error=scoring.failures[0], **told)
        else:
            self._end(job["name"], "JOB_STATE_SUCCEEDED", **told)

    def _begin_to_write(self, name: str, target: TwoTables) -> None:
        """Note it before the first row, so that the next emulator knows whose the tables are."""
        work = self._place.documents.get(UNFINISHED, name)
        if work is not None and work.get("writes"):
            target.clear()
        self._place.documents.change(UNFINISHED, name, lambda work: {**work, "writes": True})

    def _title(self, job: Json) -> str:
        return str(self._registry.get(f"{job['model']}@{job['modelVersionId']}")["displayName"]) if job.get("model") else job["displayName"]

    def _ask(self, engine: str, route: str, parameters: Any, sent: Sequence[Any]) -> list[Any]:
        """The predictions for one batch. Raises ApiError with what the container said."""
        request = {"instances": list(sent), **({"parameters": parameters} if parameters else {})}
        answer = self._serving.ask(engine, route, json.dumps(request).encode(), JSON_TYPE, SECONDS)
        if answer.status != 200:
            raise ApiError("INTERNAL" if answer.status >= 500 else "INVALID_ARGUMENT", answer.data.decode("utf-8", "replace"))
        predictions = json.loads(answer.data).get("predictions")
        if not isinstance(predictions, list) or len(predictions) != len(sent):
            raise ApiError("INTERNAL", "The model server did not answer with one prediction for each instance.")
        return predictions

    def _stop_if_asked(self, name: str) -> bool:
        """Whether the emulator ends. Raises ApiError (CANCELLED) if the job was cancelled."""
        work = self._place.documents.get(UNFINISHED, name)
        if work is not None and work.get("cancelled"):
            raise ApiError("CANCELLED", "The job was cancelled.")
        return self._place.operations.ending.is_set()

    # ---------------------------------------------------------------- states

    def _change(self, name: str, change: Callable[[Json], Json | None]) -> None:
        def stamped(job: Json) -> Json | None:
            changed = change(job)
            return None if changed is None else {**changed, "updateTime": now()}

        self._place.documents.change(KIND, name, stamped)

    def _end(self, name: str, state: str, **told: Any) -> None:
        def change(job: Json) -> Json | None:
            if job["state"] in ENDED:
                return None
            hours = (time.time() - parsed(job["startTime"]).timestamp()) / 3600 if "startTime" in job else 0.0
            return {**job, "state": state, "endTime": now(), "resourcesConsumed": {"replicaHours": hours}, **told}

        self._change(name, change)


def _running(job: Json) -> Json | None:
    """The job while it is worked on. One that is to be cancelled stays so."""
    if job["state"] == "JOB_STATE_CANCELLING":
        return None
    return {"startTime": now(), **job, "state": "JOB_STATE_RUNNING"}
