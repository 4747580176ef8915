"""aiplatform: training pipelines, as far as the SDK's custom training classes need them.

A pipeline with the custom task's definition runs a custom job and then, if it is to, uploads a model whose files the job
has left in its AIP_MODEL_DIR. What the SDK reads of it: training_jobs.py of google-cloud-aiplatform.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from typing import Any

from mlport.emulation.calls import Call
from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.discovery import document
from mlport_vertex.emulator.protocol.errors import ApiError, refusal
from mlport_vertex.emulator.protocol.long_running import INTERNAL
from mlport_vertex.emulator.protocol.resources import new_id, normal
from mlport_vertex.emulator.protocol.rules import check_model_id, check_resource, invalid
from mlport_vertex.emulator.services.models import Models
from mlport_vertex.emulator.working import containers
from mlport_vertex.emulator.working.jobs_common import Noun, faults_of, refuse_over_quota
from mlport_vertex.emulator.working.jobs_common import handlers as common
from mlport_vertex.emulator.working.runs import CANCELED

Json = dict[str, Any]
KIND, PENDING = "trainingPipelines", "pipelines at work"
CUSTOM_TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
ENDED = ("PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED")


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    pipelines = Pipelines(place)
    noun = Noun(KIND, "TrainingPipeline", ENDED, pipelines.look, pipelines.cancel, pipelines.forget)
    return {f"aiplatform.projects.locations.{KIND}.create": pipelines.create, **common(place, noun)}


class Pipelines:
    """The training pipelines of one place. While one is not ended, a document of the kind `pipelines at work` says where it is."""

    def __init__(self, place: Place) -> None:
        self._place, self._models = place, Models(place)
        place.chore(self._look_at_all)

    def create(self, request: Request) -> Json:
        pipeline = request.body
        check_resource("training_pipeline", pipeline)
        if pipeline["trainingTaskDefinition"] != CUSTOM_TASK:
            raise ApiError("UNIMPLEMENTED", f"The emulator trains custom tasks only, not {pipeline['trainingTaskDefinition']}.")
        if pipeline.get("modelId"):
            check_model_id(pipeline["modelId"])
        spec = _spec(pipeline["trainingTaskInputs"])
        containers.refuse(containers.checked(spec, _INPUTS))
        refuse_over_quota(request)
        return self._begin(normal(request.parent), pipeline, spec, faults_of(request))

    def _begin(self, parent: str, given: Json, spec: Json, faults: Json) -> Json:
        made = now()
        name = f"{parent}/{KIND}/{new_id(self._place)}"
        body = {**given, "name": name, "state": "PIPELINE_STATE_PENDING", "createTime": made, "updateTime": made}
        with self._place.documents.together():
            job = self._place.runs.begin(
                parent, {"displayName": f"{given['displayName']}-custom-job", "jobSpec": spec}, faults=faults, extra=_data(given)
            )
            pipeline = {**body, "trainingTaskMetadata": {"backingCustomJob": job["name"]}}
            self._place.documents.insert(KIND, name, pipeline)
            self._place.documents.insert(PENDING, name, {"name": name, "job": job["name"]})
        return pipeline

    def look(self, name: str) -> Json | None:
        work = self._place.documents.get(PENDING, name)
        if work is not None:
            self._advance(work)
        return self._place.documents.get(KIND, name)

    def cancel(self, name: str) -> None:
        work = self._place.documents.get(PENDING, name)
        if work is not None:
            self._place.runs.cancel(work["job"])
            self._change(name, "PIPELINE_STATE_CANCELLING")

    def forget(self, name: str) -> bool:
        self._place.documents.delete(KIND, name)
        return True

    # ---------------------------------------------------------------- the chore

    def _look_at_all(self) -> None:
        for _, work in list(self._place.documents.list(PENDING))[::-1]:
            failed = partial(self._end, work["name"], "PIPELINE_STATE_FAILED", error=INTERNAL.rpc())
            self._place.tries(work["name"], partial(self._advance, work), failed)

    def _advance(self, work: Json) -> None:
        """Take over what has become of the job, and of the upload after it."""
        name = work["name"]
        if "upload" in work:
            self._uploaded(name, self._place.operations.get(work["upload"]))
            return
        job = self._place.documents.get("customJobs", work["job"])
        if job is None or job["state"] == "JOB_STATE_CANCELLED":
            self._end(name, "PIPELINE_STATE_CANCELLED", error=CANCELED.rpc())
        elif job["state"] == "JOB_STATE_FAILED":
            self._end(name, "PIPELINE_STATE_FAILED", error=job["error"])
        elif job["state"] == "JOB_STATE_SUCCEEDED":
            self._upload(name, job)
        elif job["state"] == "JOB_STATE_RUNNING":
            self._change(name, "PIPELINE_STATE_RUNNING", startTime=job["startTime"])

    def _upload(self, name: str, job: Json) -> None:
        """Begin to upload the model, if there is to be one."""
        pipeline = self._place.documents.get(KIND, name)
        if pipeline is None or not pipeline.get("modelToUpload"):
            self._end(name, "PIPELINE_STATE_SUCCEEDED", startTime=job["startTime"])
            return
        base = job["jobSpec"].get("baseOutputDirectory", {}).get("outputUriPrefix", "").rstrip("/")
        model = {"artifactUri": f"{base}/model", **pipeline["modelToUpload"], "trainingPipeline": name}
        chosen = {key: pipeline[key] for key in ("modelId", "parentModel") if pipeline.get(key)}
        parent = name.partition(f"/{KIND}/")[0]
        with self._place.documents.together():
            work = self._place.documents.get(PENDING, name)
            if work is None or "upload" in work:
                return  # another thread was faster
            try:
                operation = self._models.upload(_upload_request(parent, {"model": model, **chosen}))
            except ApiError as error:
                self._end(name, "PIPELINE_STATE_FAILED", error=error.rpc())
                return
            self._place.documents.change(PENDING, name, lambda work: {**work, "upload": operation["name"]})

    def _uploaded(self, name: str, operation: Json) -> None:
        if not operation.get("done"):
            return
        if "error" in operation:
            self._end(name, "PIPELINE_STATE_FAILED", error=operation["error"])
            return
        response = operation["response"]
        pipeline = self._place.documents.get(KIND, name) or {}
        model = {**pipeline.get("modelToUpload", {}), "name": response["model"], "versionId": response["modelVersionId"]}
        self._end(name, "PIPELINE_STATE_SUCCEEDED", modelToUpload=model)

    def _change(self, name: str, state: str, **fields: Any) -> None:
        def change(pipeline: Json) -> Json | None:
            keeps = pipeline["state"] == state or (state == "PIPELINE_STATE_RUNNING" and pipeline["state"] == "PIPELINE_STATE_CANCELLING")
            return None if keeps or pipeline["state"] in ENDED else {**pipeline, **fields, "state": state, "updateTime": now()}

        self._place.documents.change(KIND, name, change)

    def _end(self, name: str, state: str, **fields: Any) -> None:
        moment = now()
        with self._place.documents.together():
            self._change(name, state, **fields, endTime=moment)
            self._place.documents.delete(PENDING, name)


def _upload_request(parent: str, body: Json) -> Request:
    """The call that a client would make to upload the model."""
    method = document("aiplatform.v1").methods["aiplatform.projects.locations.models.upload"]
    return Request(method, {"parent": parent}, body, Call("POST", "", f"/v1/{parent}/models:upload", (), {}, io.BytesIO()))


_INPUTS = "training_pipeline.training_task_inputs"


def _spec(inputs: Any) -> Json:
    """The custom task's inputs: a CustomJobSpec (the SDK writes its names as the protos do). Raises ApiError."""
    if not isinstance(inputs, dict):
        raise invalid(_INPUTS, "must be an object")
    checked = document("aiplatform.v1").value("GoogleCloudAiplatformV1CustomJobSpec", _with_texts(_without_nulls(inputs)))
    if checked.problems:
        raise refusal(checked.problems, _INPUTS)
    found: Json = checked.value
    return found


def _with_texts(value: Any) -> Any:
    """Numbers among `args` as texts: the SDK takes them ("Union[str, float, int]") and sends them as they are. A guess."""
    if isinstance(value, dict):
        return {key: [_text(each) for each in item] if key == "args" else _with_texts(item) for key, item in value.items()}
    return [_with_texts(item) for item in value] if isinstance(value, list) else value


def _text(word: Any) -> Any:
    """A number as a text, a whole one without the point that a Struct gives it.

    >>> [_text(word) for word in (3.0, 0.5, "--depth")]
    ['3', '0.5', '--depth']
    """
    if isinstance(word, bool) or not isinstance(word, int | float):
        return word
    return str(int(word)) if word == int(word) else repr(word)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _data(pipeline: Json) -> dict[str, str]:
    """The variables that a job has of a pipeline: none, unless a managed dataset is its input, which there is none of here."""
    if pipeline.get("inputDataConfig", {}).get("datasetId"):
        raise ApiError("NOT_FOUND", f"The Dataset does not exist: {pipeline['inputDataConfig']['datasetId']}")
    return {}
