"""aiplatform: hyperparameter tuning jobs. Each trial is a custom job, with its parameters as arguments."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from zlib import crc32

from mlport import SweepSpec
from mlport_vertex.emulator.place import Place, now
from mlport_vertex.emulator.protocol.api import Handler, Request
from mlport_vertex.emulator.protocol.discovery import snake
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.long_running import INTERNAL
from mlport_vertex.emulator.protocol.resources import moment, new_id, normal, parse
from mlport_vertex.emulator.protocol.rules import check_resource
from mlport_vertex.emulator.working import containers, study
from mlport_vertex.emulator.working.containers import METRIC_FILE, TRIAL_ID
from mlport_vertex.emulator.working.jobs_common import Noun, faults_of, refuse_over_quota
from mlport_vertex.emulator.working.jobs_common import handlers as common
from mlport_vertex.emulator.working.runs import CANCELED, ENDED
from mlport_vertex.emulator.working.runs import KIND as CUSTOM_JOBS

Json = dict[str, Any]
KIND, PENDING = "hyperparameterTuningJobs", "tuning jobs at work"
TRIAL_ENDED = ("SUCCEEDED", "INFEASIBLE")
MOST_FAILED = 3  # where Vertex AI decides: the number is a guess


def handlers(place: Place) -> Mapping[str, Handler]:
    """The methods by their ids."""
    tuning = Tuning(place)
    noun = Noun(KIND, "HyperparameterTuningJob", ENDED, tuning.look, tuning.cancel, tuning.forget)
    return {f"aiplatform.projects.locations.{KIND}.create": tuning.create, **common(place, noun)}


class Tuning:
    """The tuning jobs of one place. While one is not ended, a document of the kind `tuning jobs at work` stands for it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        place.chore(self._look_at_all)

    def create(self, request: Request) -> Json:
        job = request.body
        check_resource("hyperparameter_tuning_job", job)
        wrong = study.problems(job["studySpec"], "hyperparameter_tuning_job.study_spec")
        wrong += containers.checked(job["trialJobSpec"], "hyperparameter_tuning_job.trial_job_spec")
        for field in ("maxTrialCount", "parallelTrialCount"):
            if job.setdefault(field, 0) < 1:
                wrong.append((f"hyperparameter_tuning_job.{snake(field)}", "It must be greater than 0."))
        containers.refuse(wrong)
        refuse_over_quota(request)
        made = now()
        name = f"{normal(request.parent)}/{KIND}/{new_id(self._place)}"
        body = {**job, "name": name, "state": "JOB_STATE_PENDING", "createTime": made, "updateTime": made}
        with self._place.documents.together():
            self._place.documents.insert(KIND, name, body)
            self._place.documents.insert(PENDING, name, {"name": name, "faults": faults_of(request)})
        return body

    def look(self, name: str) -> Json | None:
        return self._place.documents.get(KIND, name)

    def cancel(self, name: str) -> None:
        """Ask for the end of all trials; the chore sees to it."""

        def change(job: Json) -> Json | None:
            return None if job["state"] in ENDED else {**job, "state": "JOB_STATE_CANCELLING", "updateTime": now()}

        self._place.documents.change(KIND, name, change)

    def forget(self, name: str) -> bool:
        job = self._place.documents.get(KIND, name) or {}
        if not all(self._place.runs.forget(trial["customJob"]) for trial in job.get("trials", ())):
            return False
        self._place.documents.delete(KIND, name)
        return True

    # ---------------------------------------------------------------- the chore

    def _look_at_all(self) -> None:
        for _, work in list(self._place.documents.list(PENDING))[::-1]:
            self._place.tries(work["name"], partial(self._advance, work), partial(self._give_up, work["name"]))

    def _give_up(self, name: str) -> None:
        trials = (self._place.documents.get(KIND, name) or {}).get("trials", [])
        for trial in trials:
            self._place.runs.cancel(trial["customJob"])
        self._keep(name, trials, ("JOB_STATE_FAILED", INTERNAL))

    def _advance(self, work: Json) -> None:
        """One round: take over what trials did, start new ones, see whether it is the end. Only the chore calls it."""
        job = self._place.documents.get(KIND, work["name"])
        if job is None:
            self._place.documents.delete(PENDING, work["name"])
            return
        spec = study.sweep(job["studySpec"], job["maxTrialCount"])
        before = job.get("trials", [])
        trials = [trial if trial["state"] in TRIAL_ENDED else self._looked(job, spec, trial) for trial in before]
        self._end_early(spec, trials)
        outcome = self._outcome(job, trials)
        if outcome is None and job["state"] != "JOB_STATE_CANCELLING":
            new = self._suggested(job, spec, trials)
            if new is not None:
                self._start(job, work, trials, new)
                return
            if not [trial for trial in trials if trial["state"] not in TRIAL_ENDED]:
                outcome = "JOB_STATE_SUCCEEDED", None  # every point of a small space was tried
        if trials != before or outcome is not None:
            self._keep(job["name"], trials, outcome)

    def _start(self, job: Json, work: Json, trials: list[Json], point: study.Point) -> None:
        """One more trial and its custom job, both or neither."""
        number = len(trials) + 1
        parameters = [{"parameterId": name, "value": value} for name, value in point.items()]
        spec = _trial_spec(job["trialJobSpec"], parameters, number)
        parent = job["name"].partition(f"/{KIND}/")[0]
        with self._place.documents.together():
            made = self._place.runs.begin(
                parent,
                {"displayName": f"{job['displayName']}-trial-{number}", "jobSpec": spec},
                extra={TRIAL_ID: str(number), METRIC_FILE: METRIC_FILE},
                faults=work["faults"],
            )
            trial = {"id": str(number), "state": "REQUESTED", "parameters": parameters, "customJob": made["name"]}
            self._keep(job["name"], [*trials, trial], None)

    def _looked(self, job: Json, spec: SweepSpec, trial: Json) -> Json:
        """A trial that had not ended, as it is now."""
        custom = self._place.documents.get(CUSTOM_JOBS, trial["customJob"])
        if custom is None:
            return {**trial, "state": "INFEASIBLE", "infeasibleReason": "The custom job was deleted.", "endTime": now()}
        began = custom.get("startTime")
        if began is None and custom["state"] not in ENDED:
            return trial
        reported = self._reported(spec, trial, began) if began else []
        found = {
            **trial,
            **({"startTime": began} if began else {}),
            **({"measurements": reported} if reported else {}),
            "state": "STOPPING" if custom["state"] == "JOB_STATE_CANCELLING" else "ACTIVE",
        }
        if custom["state"] not in ENDED:
            return found
        return _ended(found, custom, study.final(reported, spec, job["studySpec"].get("measurementSelectionType", "")))

    def _reported(self, spec: SweepSpec, trial: Json, began: str) -> list[Json]:
        path = self._place.runs.folder(trial["customJob"]) / "workerpool0-0" / METRIC_FILE
        return study.measurements(path, spec.metric, moment(began).timestamp())

    def _end_early(self, spec: SweepSpec, trials: list[Json]) -> None:
        for trial in trials:
            if trial["state"] == "ACTIVE" and study.falls_behind(spec, trial, trials):
                self._place.runs.cancel(trial["customJob"])

    def _outcome(self, job: Json, trials: list[Json]) -> tuple[str, ApiError | None] | None:
        """How the tuning job has ended, None while it goes on; what is to end is told to."""
        running = [trial for trial in trials if trial["state"] not in TRIAL_ENDED]
        failed = sum(trial["state"] == "INFEASIBLE" and not trial.get("infeasibleReason", "").startswith("CANCEL") for trial in trials)
        too_many = failed >= (job.get("maxFailedTrialCount") or MOST_FAILED)
        if job["state"] == "JOB_STATE_CANCELLING" or too_many:
            for trial in running:
                self._place.runs.cancel(trial["customJob"])
            if running:
                return None
            if not too_many:
                return "JOB_STATE_CANCELLED", CANCELED
            return "JOB_STATE_FAILED", ApiError("FAILED_PRECONDITION", f"Too many failed trials: {failed}.")  # a guess at the words
        return ("JOB_STATE_SUCCEEDED", None) if len(trials) >= job["maxTrialCount"] and not running else None

    def _suggested(self, job: Json, spec: SweepSpec, trials: list[Json]) -> study.Point | None:
        """The next point, None while there is no room for a trial, or none to come."""
        running = sum(trial["state"] not in TRIAL_ENDED for trial in trials)
        failed = sum(trial["state"] == "INFEASIBLE" for trial in trials)
        if running >= job["parallelTrialCount"] or len(trials) >= job["maxTrialCount"]:
            return None
        if failed >= (job.get("maxFailedTrialCount") or MOST_FAILED):
            return None
        return study.next_point(spec, crc32(parse(job["name"]).id.encode()), trials)

    def _keep(self, name: str, trials: list[Json], outcome: tuple[str, ApiError | None] | None) -> None:
        moment = now()
        state, error = outcome or ("", None)

        def change(job: Json) -> Json:
            started = [trial["startTime"] for trial in trials if "startTime" in trial]
            runs = {"startTime": min(started)} if started else {}
            at_work = "JOB_STATE_RUNNING" if started and job["state"] == "JOB_STATE_PENDING" else job["state"]
            ended = {"state": state, "endTime": moment, **({"error": error.rpc()} if error else {})} if state else {"state": at_work}
            return {**job, **runs, "trials": trials, "updateTime": moment, **ended}

        with self._place.documents.together():
            self._place.documents.change(KIND, name, change)
            if state:
                self._place.documents.delete(PENDING, name)


def _ended(trial: Json, custom: Json, counts: Json | None) -> Json:
    """A trial whose custom job has ended. One that was ended early has succeeded with what it reported until then."""
    ended = {**trial, "endTime": custom["endTime"]}
    if counts is not None and custom["state"] in ("JOB_STATE_SUCCEEDED", "JOB_STATE_CANCELLED"):
        return {**ended, "state": "SUCCEEDED", "finalMeasurement": counts}
    reason = custom.get("error", {}).get("message") or "The trial reported no measurement of the metric."
    return {**ended, "state": "INFEASIBLE", "infeasibleReason": reason}


def _trial_spec(spec: Json, parameters: list[Json], number: int) -> Json:
    """The job spec of one trial: arguments for every pool, and a folder of its own under the base output directory."""
    added = study.arguments(parameters)
    pools = []
    for pool in spec["workerPoolSpecs"]:
        task = next((name for name in ("containerSpec", "pythonPackageSpec") if name in pool), None)
        pools.append({**pool, task: {**pool[task], "args": [*pool[task].get("args", ()), *added]}} if task else pool)
    base = spec.get("baseOutputDirectory", {}).get("outputUriPrefix", "").rstrip("/")
    own = {"baseOutputDirectory": {"outputUriPrefix": f"{base}/{number}"}} if base else {}
    return {**spec, "workerPoolSpecs": pools, **own}
