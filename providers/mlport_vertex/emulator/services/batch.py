"""aiplatform: batch prediction jobs. Each has a model server of its own at the engine, and is really scored through it."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from mlport_vertex.emulator import batch_io
from mlport_vertex.emulator.api import Handler, Request
from mlport_vertex.emulator.errors import ApiError
from mlport_vertex.emulator.jobs_common import Noun, refuse_over_quota
from mlport_vertex.emulator.jobs_common import handlers as common
from mlport_vertex.emulator.object_records import StorageError
from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.registry import Registry
from mlport_vertex.emulator.resources import moment as parsed
from mlport_vertex.emulator.resources import new_id, normal
from mlport_vertex.emulator.rules import check_resource, invalid
from mlport_vertex.emulator.serving import Serving, contract, engine_name

Json = dict[str, Any]
KIND, UNFINISHED = "batchPredictionJobs", "unfinishedBatches"
ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")
BATCH_SIZE = 64  # aiplatform.v1, ManualBatchTuningParameters.batchSize
SECONDS = 600.0  # for the answer to one batch
MOST_FAILURES = 20  # aiplatform.v1, BatchPredictionJob.partialFailures


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    batch = Batch(place)
    place.chore(batch.push)
    noun = Noun(KIND, "BatchPredictionJob", ENDED, batch.look, batch.cancel, batch.forget)
    return {**common(place, noun), f"aiplatform.projects.locations.{KIND}.create": batch.create}


class Batch:
    """What the methods do, and the work behind them.

    A document of the kind `unfinishedBatches` goes with each job that has not ended: `{"name", "container", "artifacts",
    "engine", "cancelled"}`.
    """

    def __init__(self, place: Place) -> None:
        self._place, self._registry, self._serving = place, Registry(place), Serving(place)

    def create(self, request: Request) -> Json:
        refuse_over_quota(request)
        body = dict(request.body)
        check_resource("batch_prediction_job", body)
        container, artifacts, of_model = self._model(body)
        _check_configs(body)
        name, moment = f"{normal(request.parent)}/{KIND}/{new_id(self._place)}", now()
        job = {**body, **of_model, "name": name, "state": "JOB_STATE_PENDING", "createTime": moment, "updateTime": moment}
        work = {"name": name, "container": container, "artifacts": artifacts, "engine": engine_name(name)}
        with self._place.documents.together():
            self._place.documents.insert(KIND, name, job)
            self._place.documents.insert(UNFINISHED, name, work)
        return job

    def _model(self, body: Json) -> tuple[Json, str, Json]:
        """Container, artifacts, and what the job says of its model. Raises ApiError."""
        given = [field for field in ("model", "unmanagedContainerModel") if body.get(field)]
        if len(given) != 1:
            raise invalid("batch_prediction_job.model", "Exactly one of model and unmanaged_container_model must be set.")
        if given == ["unmanagedContainerModel"]:
            unmanaged = body["unmanagedContainerModel"]
            return unmanaged.get("containerSpec", {}), unmanaged.get("artifactUri", ""), {}
        model, version = self._registry.resolve(body["model"])
        found = self._registry.get(f"{model}@{version}")
        if not found.get("containerSpec"):
            raise ApiError("FAILED_PRECONDITION", f"The Model {model} does not support batch prediction.")
        if not body.get("dedicatedResources"):
            raise invalid("batch_prediction_job.dedicated_resources", "'automatic_resources' is not supported for the Model.")
        return found["containerSpec"], found.get("artifactUri", ""), {"model": model, "modelVersionId": version}

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
            self._place.operations.background(work["name"], partial(self._go_on, work["name"]))

    def _go_on(self, name: str) -> None:
        work, job = self._place.documents.get(UNFINISHED, name), self.look(name)
        if work is None or job is None:
            return
        if job["state"] in ENDED:
            if self._serving.stop(work["engine"]):
                self._place.documents.delete(UNFINISHED, name)
            return
        try:
            self._score(work, job)
        except ApiError as error:
            ended = "JOB_STATE_CANCELLED" if error.code == "CANCELLED" else "JOB_STATE_FAILED"
            self._end(name, ended, error=error.rpc())
        except StorageError as error:
            self._end(name, "JOB_STATE_FAILED", error=ApiError("NOT_FOUND", error.message).rpc())

    def _score(self, work: Json, job: Json) -> None:
        """Score everything, once the model answers; a killed emulator begins again."""
        self._stop_if_asked(job["name"])
        container = work["container"]
        env = contract(job["name"], "0", container, work["artifacts"], _machine(job))
        if not self._serving.start(work["engine"], container, work["artifacts"], env):
            return
        self._change(job["name"], lambda before: {"startTime": now(), **before, "state": "JOB_STATE_RUNNING"})
        files = batch_io.inputs(self._place.objects, job["inputConfig"]["gcsSource"]["uris"])
        folder = self._place.folder / "batches" / work["engine"]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            scored = _Scored(
                partial(self._ask, work["engine"], env["AIP_PREDICT_ROUTE"], job), folder, partial(self._stop_if_asked, job["name"])
            )
            for number, file in enumerate(files):
                source = batch_io.instances(file.path, job["inputConfig"]["instancesFormat"], job.get("instanceConfig", {}))
                scored.add(number, len(files), source, job.get("manualBatchTuningParameters", {}).get("batchSize") or BATCH_SIZE)
            if self._place.operations.ending.is_set():
                return
            self._finish(job, scored, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _finish(self, job: Json, scored: _Scored, folder: Path) -> None:
        prefix = job["outputConfig"]["gcsDestination"]["outputUriPrefix"].rstrip("/")
        title = re.sub(r"[^\w-]", "_", self._title(job))
        directory = f"{prefix}/prediction-{title}-{re.sub(r'[-:.]', '_', now()[:-4])}Z"
        scored.write_errors()
        self._place.objects.upload_tree(folder, directory)
        stats = {"successfulCount": str(scored.good), "failedCount": str(scored.bad), "incompleteCount": "0"}
        told: Json = {"outputInfo": {"gcsOutputDirectory": directory}, "completionStats": stats}
        if scored.failures:
            told["partialFailures"] = scored.failures[:MOST_FAILURES]
        if scored.bad and not scored.good:
            self._end(job["name"], "JOB_STATE_FAILED", error=scored.failures[0], **told)
        else:
            self._end(job["name"], "JOB_STATE_SUCCEEDED", **told)

    def _title(self, job: Json) -> str:
        return str(self._registry.get(f"{job['model']}@{job['modelVersionId']}")["displayName"]) if job.get("model") else job["displayName"]

    def _ask(self, engine: str, route: str, job: Json, sent: Sequence[Any]) -> list[Any]:
        """The predictions for one batch. Raises ApiError with what the container said."""
        request = {"instances": list(sent), **({"parameters": job["modelParameters"]} if job.get("modelParameters") else {})}
        answer = self._serving.ask(engine, route, json.dumps(request).encode(), {"content-type": "application/json"}, SECONDS)
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

    def _change(self, name: str, change: Any) -> None:
        def stamped(job: Json) -> Json | None:
            changed = change(job)
            return None if changed is None else {**changed, "updateTime": now()}

        self._place.documents.change(KIND, name, stamped)

    def _end(self, name: str, state: str, **told: Any) -> None:
        def change(job: Json) -> Json | None:
            if job["state"] in ENDED:
                return None
            moment = now()
            hours = (time.time() - parsed(job["startTime"]).timestamp()) / 3600 if "startTime" in job else 0.0
            return {**job, "state": state, "endTime": moment, "resourcesConsumed": {"replicaHours": hours}, **told}

        self._change(name, change)


class _Scored:
    """Results and errors on their way to files, and how many of each there are."""

    def __init__(self, ask: Any, folder: Path, should_stop: Any) -> None:
        self._ask, self._folder, self._should_stop = ask, folder, should_stop
        self.good = self.bad = 0
        self.failures: list[Json] = []
        self._errors: list[str] = []

    def add(self, number: int, of: int, source: Iterator[batch_io.Instance], size: int) -> None:
        """Score one input file into one file of results."""
        with (self._folder / f"prediction.results-{number:05}-of-{of:05}").open("w", encoding="utf-8") as results:
            while (chunk := list(islice(source, size))) and not self._should_stop():
                for line in self._lines(chunk):
                    results.write(line + "\n")

    def _lines(self, chunk: Sequence[batch_io.Instance]) -> list[str]:
        try:
            predictions = self._ask([each.sent for each in chunk])
        except ApiError as error:
            return self._apart(chunk, error)
        self.good += len(chunk)
        return [json.dumps({**each.shown, "prediction": prediction}) for each, prediction in zip(chunk, predictions, strict=True)]

    def _apart(self, chunk: Sequence[batch_io.Instance], error: ApiError) -> list[str]:
        """A batch that fails is asked for one by one, so that only the instances that are at fault are lost."""
        if len(chunk) > 1:
            return [line for each in chunk for line in self._lines([each])]
        self.bad += 1
        self.failures.append(error.rpc())
        self._errors.append(json.dumps({**chunk[0].shown, "error": error.rpc()}))
        return []

    def write_errors(self) -> None:
        file = self._folder / "prediction.errors_stats-00000-of-00001"
        file.write_text("".join(f"{line}\n" for line in self._errors), encoding="utf-8")


def _machine(job: Json) -> str:
    return str(job.get("dedicatedResources", {}).get("machineSpec", {}).get("machineType", ""))


def _check_configs(body: Json) -> None:
    """What the job reads and writes. BigQuery and TFRecord are Vertex AI's too, and are not here: said, not pretended."""
    source, target, config = body["inputConfig"], body["outputConfig"], body.get("instanceConfig", {})
    if not source.get("gcsSource"):
        raise ApiError("UNIMPLEMENTED", "The emulator reads batch predictions' input from gcs_source only.")
    if not target.get("gcsDestination"):
        raise ApiError("UNIMPLEMENTED", "The emulator writes batch predictions' output to gcs_destination only.")
    if source["instancesFormat"] not in batch_io.FORMATS:
        raise ApiError("UNIMPLEMENTED", f"The emulator reads {' and '.join(batch_io.FORMATS)}, not {source['instancesFormat']}.")
    if target["predictionsFormat"] != "jsonl":
        raise invalid(
            "batch_prediction_job.output_config.predictions_format", "It must be one of the Model's supported formats: jsonl, bigquery."
        )
    for field, uri in [*(("input_config.gcs_source.uris", uri) for uri in source["gcsSource"]["uris"]),
                       ("output_config.gcs_destination.output_uri_prefix", target["gcsDestination"]["outputUriPrefix"])]:  # fmt: skip
        if not uri.startswith("gs://"):
            raise invalid(f"batch_prediction_job.{field}", f"It must begin with gs://, not {uri}.")
    if config.get("includedFields") and config.get("excludedFields"):
        raise invalid("batch_prediction_job.instance_config", "Only one of included_fields and excluded_fields can be set.")
    if config.get("instanceType", "") not in ("", "object", "array"):
        raise invalid("batch_prediction_job.instance_config.instance_type", "It must be object or array.")
