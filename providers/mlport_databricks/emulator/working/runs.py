"""Runs at work: each attempt of a task is a job of the engine that runs attempt.py; what it wrote says how it stands.

One chore looks at every run that has not ended, and takes each a step further. A step can be done again, so that a killed
emulator goes on where it was: the engine's job has the attempt's id for its key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport import Compute, JobSpec
from mlport.errors import NotFoundError
from mlport_databricks.emulator.accounts import workspace_id
from mlport_databricks.emulator.place import now_ms
from mlport_databricks.emulator.protocol.errors import ApiError
from mlport_databricks.emulator.working import task_commands, task_states, task_values
from mlport_databricks.emulator.working.clusters import JOB_FINISHED, SPOT_TAKEN, USER_REQUEST, Clusters, falls_back, on_spot
from mlport_databricks.emulator.working.run_records import Records, attempts_of, spec_of
from mlport_databricks.emulator.working.task_commands import TaskRefused
from mlport_databricks.emulator.working.task_settings import effective, inputs_of

if TYPE_CHECKING:
    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]
LAUNCHES = 3  # of one round of the chore, which others wait for
SHARE = Compute(cpus=0.1, memory_gib=0.1)  # of this machine; a cloud's machines are elsewhere
STOPS: Mapping[str, Json] = {"canceled": task_states.CANCELED, "timed out": task_states.TIMED_OUT}


class Runs:
    """The runs of one place."""

    def __init__(self, place: Place, records: Records, clusters: Clusters, clock: Callable[[], int] = now_ms) -> None:
        self._place, self.records, self._clusters, self._now = place, records, clusters, clock
        self._launches = 0
        place.chore(self._look_at_all)

    def _look_at_all(self) -> None:
        self._launches = LAUNCHES
        for active in self.records.active():
            run = self.records.find(active["workspace"], active["run_id"]).run
            self._place.tries(f"run {run['run_id']}", partial(self._step, run), partial(self._give_up, run))

    def _step(self, run: Json) -> None:
        before = json.dumps(run)
        self._advance(run)
        if json.dumps(run) != before:
            self.records.save(run)

    def _give_up(self, run: Json) -> None:
        """A run at which the emulator failed too often ends, and with it what runs for it."""
        try:
            for attempt in attempts_of(run):
                if attempt["engine"] is not None:
                    self._place.engine.session.jobs.cancel(attempt["engine"])
        finally:
            self._finish(run, task_states.BROKEN)
            self.records.save(run)

    # ---------------------------------------------------------------- a run

    def _advance(self, run: Json) -> None:
        if run["stop"] is None and self.records.is_canceled(run["workspace"], run["run_id"]):
            run["stop"] = "canceled"
        if run["phase"] == "QUEUED" and not self._leaves_queue(run):
            return
        run["began"] = run["began"] or self._now()
        limit = int(run["settings"].get("timeout_seconds", 0))
        if run["stop"] is None and limit and self._now() - run["began"] > 1000 * limit:
            run["stop"] = "timed out"
        if run["phase"] == "TERMINATING" and all(task["outcome"] for task in run["tasks"]):
            self._finish(run, self._outcome(run))
            return
        for task in run["tasks"]:
            if task["outcome"] is None:
                self._advance_task(run, task)
        if run["stop"] or all(task["outcome"] for task in run["tasks"]):
            run["phase"] = "TERMINATING"
        elif run["phase"] == "PENDING" and any(attempt["started"] for attempt in attempts_of(run)):
            run["phase"] = "RUNNING"

    def _leaves_queue(self, run: Json) -> bool:
        """Whether it waits no longer: its turn has come, or it was canceled."""
        if run["stop"]:
            for task in run["tasks"]:
                self._close(task["attempts"][-1], task_states.CANCELED)
                task["outcome"] = task_states.CANCELED
            self._finish(run, task_states.CANCELED)
            return False
        others = self.records.active_of(run["workspace"], run["job_id"])
        ahead = [other for other in others if other["phase"] != "QUEUED" or other["created"] < run["created"]]
        if len([other for other in ahead if other["run_id"] != run["run_id"]]) >= run["max_concurrent_runs"]:
            return False
        run["phase"], run["began"] = "PENDING", self._now()
        return True

    def _outcome(self, run: Json) -> Json:
        if run["stop"]:
            return STOPS[run["stop"]]
        needed = {each["task_key"] for spec in run["settings"]["tasks"] for each in spec.get("depends_on", ())}
        ended = {task["key"]: task["outcome"] for task in run["tasks"]}
        return task_states.of_tasks(ended, [key for key in ended if key not in needed])

    def _finish(self, run: Json, outcome: Json) -> None:
        for cluster_id in run["clusters"].values():
            self._clusters.terminate(run["workspace"], cluster_id, JOB_FINISHED)
        run.update(phase="TERMINATED", outcome=outcome, ended=self._now())

    # ---------------------------------------------------------------- a task

    def _advance_task(self, run: Json, task: Json) -> None:
        spec = spec_of(run, task["key"])
        upstream = [self._task(run, each["task_key"])["outcome"] for each in spec.get("depends_on", ())]
        attempt = task["attempts"][-1]
        if attempt["phase"] == "BLOCKED":
            if run["stop"]:
                skipped: Json | None = STOPS[run["stop"]]
            elif self.records.is_canceled(run["workspace"], attempt["run_id"]):
                skipped = task_states.CANCELED
            elif not all(upstream):
                return
            else:
                disabled = task_states.DISABLED if spec.get("disabled") else None
                skipped = disabled or task_states.verdict(spec.get("run_if", "ALL_SUCCESS"), upstream)
            if skipped is not None:
                self._close(attempt, skipped)
                task["outcome"] = skipped
                return
            attempt.update(phase="PENDING", began=self._now())
        if "for_each_task" in spec:
            self._advance_each(run, task, spec)
        else:
            known = self._known(run, task)
            self._advance_unit(run, task, task, spec, known)

    def _advance_each(self, run: Json, task: Json, spec: Json) -> None:
        """A for-each task: so many iterations at once as its concurrency says."""
        attempt, known = task["attempts"][-1], self._known(run, task)
        try:
            self._open_each(task, spec, known)
        except TaskRefused as refusal:
            self._close(attempt, refusal.outcome)
            task["outcome"] = refusal.outcome
            return
        stop = run["stop"] or ("canceled" if self.records.is_canceled(run["workspace"], attempt["run_id"]) else None)
        free = int(spec["for_each_task"].get("concurrency", 1)) - sum(
            not each["outcome"] and not _waits(each) for each in task["iterations"]
        )
        for number, each in enumerate(task["iterations"]):
            if each["outcome"] is None and _waits(each):
                if stop:
                    each["outcome"] = STOPS[stop]
                elif free > 0:
                    free -= 1
                    self._begin_iteration(run, task, number, each)
            if each["outcome"] is not None or _waits(each):
                continue
            self._advance_unit(run, task, each, spec["for_each_task"]["task"], {**known, **task_values.of_input(each["input"])}, stop)
        if all(each["outcome"] for each in task["iterations"]):
            outcome = STOPS[stop] if stop else task_states.of_iterations([each["outcome"] for each in task["iterations"]])
            self._close(attempt, outcome)
            task["outcome"] = outcome
        elif stop:
            attempt["phase"] = "TERMINATING"

    def _open_each(self, task: Json, spec: Json, known: Mapping[str, str]) -> None:
        """Its iterations, which a repair finds there already. Raises TaskRefused."""
        if "iterations" not in task:
            task["iterations"] = [{"input": element, "attempts": [], "outcome": None} for element in inputs_of(spec, known)]
        if task["attempts"][-1]["started"] is None:
            task["attempts"][-1].update(phase="RUNNING", started=self._now())

    def _begin_iteration(self, run: Json, task: Json, number: int, each: Json) -> None:
        before = each["attempts"][-1] if each["attempts"] else None
        first = self.records.attempt(run["workspace"], run["run_id"], task["key"], number, before)
        each["attempts"].append({**first, "first": first["number"], "phase": "PENDING", "began": self._now()})
        each["waits"] = False
        self.records.save(run)  # its id is known from now on

    def _known(self, run: Json, task: Json) -> dict[str, str]:
        """The values that the parameters of a task may refer to, but those of one attempt."""
        others = {other["key"]: other["attempts"][-1] for other in run["tasks"] if other is not task}
        return {
            **task_values.of_others(others),
            **task_values.of_job(run, run["workspace"], str(workspace_id(run["workspace"]))),
        }

    def _task(self, run: Json, key: str) -> Json:
        found: Json = next(task for task in run["tasks"] if task["key"] == key)
        return found

    # ---------------------------------------------------------------- attempts

    def _advance_unit(self, run: Json, task: Json, unit: Json, spec: Json, known: Mapping[str, str], stop: str | None = None) -> None:
        """The last attempt of a task, or of an iteration; another after it if it failed and may be repeated."""
        attempt = unit["attempts"][-1]
        stop = stop or run["stop"] or ("canceled" if self.records.is_canceled(run["workspace"], attempt["run_id"]) else None)
        if attempt["engine"] is None:
            self._begin(run, unit, spec, known, stop)
        else:
            self._look(run, attempt, spec, stop)
        ended = attempt["outcome"]
        if ended is None or attempt["phase"] != "TERMINATED":
            return
        if stop or not _again(spec, attempt):
            unit["outcome"] = ended
            return
        iteration = task["iterations"].index(unit) if "iterations" in task else None
        following = self.records.attempt(run["workspace"], run["run_id"], task["key"], iteration, attempt)
        pause = int(spec.get("min_retry_interval_millis", 0))
        due = (attempt["started"] or attempt["began"]) + pause
        begun = {"first": attempt.get("first", 0), "phase": "PENDING", "began": self._now(), "not_before": due}
        unit["attempts"].append({**following, **begun})
        self.records.save(run)

    def _begin(self, run: Json, unit: Json, spec: Json, known: Mapping[str, str], stop: str | None) -> None:
        attempt = unit["attempts"][-1]
        if stop:
            self._end_cluster(run, attempt, spec, JOB_FINISHED)
            self._close(attempt, STOPS[stop])
        elif attempt["not_before"] > self._now():
            attempt["phase"] = "WAITING_FOR_RETRY"
        elif self._launches > 0:
            attempt["phase"] = "PENDING"
            try:
                if self._cluster_is_ready(run, attempt, spec):
                    self._launches -= 1
                    self._launch(run, attempt, spec, known)
            except TaskRefused as refusal:
                self._end_cluster(run, attempt, spec, JOB_FINISHED)
                self._close(attempt, refusal.outcome)

    def _launch(self, run: Json, attempt: Json, spec: Json, known: Mapping[str, str]) -> None:
        key = spec["task_key"]
        settled = task_values.resolved(effective(run, spec), {**known, **task_values.of_task(key, attempt, spec)})
        cluster = self._cluster(run, attempt)
        folder = self.records.folder(attempt)
        libraries = (self._clusters.folder(run["workspace"], attempt["cluster_id"]) if cluster else folder) / "libraries"
        manifest = task_commands.attempt(self._place, run, settled, folder, libraries, cluster)
        manifest["preempt"] = _preempted(run, attempt, cluster)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(folder / "attempt.json", manifest)
        if "notebook_task" in settled:
            task_commands.keep_notebook(self._place, run, settled["notebook_task"]["notebook_path"], folder)
        work = JobSpec(name="task-run", entrypoint=("python", "-I", "-S", task_commands.ATTEMPT, str(folder)), compute=SHARE)
        attempt["engine"] = self._place.engine.jobs.submit(work, key=f"{run['workspace']}/{attempt['run_id']}").id

    def _look(self, run: Json, attempt: Json, spec: Json, stop: str | None) -> None:
        """Take over what the attempt has written; without it, what the engine says."""
        jobs = self._place.engine.session.jobs
        if attempt["told"] is None and (reason := stop or self._cluster_was_lost(run, attempt)):
            jobs.cancel(attempt["engine"])
            attempt["told"] = reason
        state = _read(self.records.folder(attempt) / "state.json")
        if attempt["started"] is None and "started" in state:
            attempt.update(started=state["started"], phase="RUNNING")
            if attempt["cluster_id"] and "new_cluster" in spec:
                self._clusters.running(run["workspace"], attempt["cluster_id"])
        elif attempt["phase"] != "TERMINATING" and (attempt["told"] or "outcome" in state):
            attempt["phase"] = "TERMINATING"
        elif self._engine_ended(attempt):
            state = _read(self.records.folder(attempt) / "state.json")
            outcome = self._ended(attempt, spec, state)
            reason_of_cluster = SPOT_TAKEN if state.get("outcome") == "preempted" else JOB_FINISHED
            self._end_cluster(run, attempt, spec, reason_of_cluster)
            attempt["finished"] = state.get("finished")
            self._close(attempt, outcome)

    def _ended(self, attempt: Json, spec: Json, state: Json) -> Json:
        how = state.get("outcome")
        if how == "succeeded":
            return task_states.SUCCESS
        if how == "failed":
            return task_states.FAILED
        if how == "timed out":
            return task_states.TIMED_OUT
        if how == "preempted":
            said = f"Cluster '{attempt['cluster_id']}' was terminated. Reason: {SPOT_TAKEN['code']} ({SPOT_TAKEN['type']})."
            return task_states.refused("CLOUD_FAILURE", said, "CLOUD_FAILURE")
        if how == "not installed":
            return task_commands.installation_failed(self.records.folder(attempt), attempt["cluster_id"] or "", spec.get("libraries", []))
        if attempt["told"] == "cluster":
            said = f"Cluster '{attempt['cluster_id']}' was terminated. Reason: {USER_REQUEST['code']} ({USER_REQUEST['type']})."
            return task_states.refused("CLUSTER_ERROR", said)
        return STOPS.get(attempt["told"], task_states.LOST)

    def _engine_ended(self, attempt: Json) -> bool:
        try:
            return self._place.engine.session.jobs.status(attempt["engine"]).state.terminal
        except NotFoundError:
            return True

    def _close(self, attempt: Json, outcome: Json) -> None:
        moment = self._now()
        attempt.update(phase="TERMINATED", outcome=outcome, began=attempt["began"] or moment, ended=moment)

    # ---------------------------------------------------------------- clusters

    def _cluster(self, run: Json, attempt: Json) -> Json | None:
        """What clusters/get answers of the cluster of an attempt; None for serverless."""
        if attempt["cluster_id"] is None:
            return None
        found = self._clusters.find(run["workspace"], attempt["cluster_id"])
        if found is None:
            raise TaskRefused(task_states.refused("RESOURCE_NOT_FOUND", f"Cluster {attempt['cluster_id']} does not exist"))
        body: Json = found["body"]
        return body

    def _cluster_is_ready(self, run: Json, attempt: Json, spec: Json) -> bool:
        """Whether the attempt has what it runs on; a new cluster is begun, a terminated one started."""
        if "existing_cluster_id" in spec:
            attempt["cluster_id"] = spec["existing_cluster_id"]
        elif attempt["cluster_id"] is None and (wanted := self._wanted_cluster(run, spec)) is not None:
            self._begin_cluster(run, attempt, spec, wanted)
        cluster = self._cluster(run, attempt)
        if cluster is None or "existing_cluster_id" not in spec:
            return True
        if cluster["state"] == "TERMINATED":
            try:
                self._clusters.start(run["workspace"], cluster["cluster_id"], run["user"])
            except ApiError as error:
                raise TaskRefused(task_states.refused("CLUSTER_ERROR", error.message)) from error
        return bool(cluster["state"] == "RUNNING")

    def _wanted_cluster(self, run: Json, spec: Json) -> Json | None:
        if "job_cluster_key" in spec:
            shared = {each["job_cluster_key"]: each["new_cluster"] for each in run["settings"].get("job_clusters", ())}
            wanted: Json = shared[spec["job_cluster_key"]]
            return wanted
        return spec.get("new_cluster")

    def _begin_cluster(self, run: Json, attempt: Json, spec: Json, wanted: Json) -> None:
        shared = spec.get("job_cluster_key")
        if shared in run["clusters"]:
            attempt["cluster_id"] = run["clusters"][shared]
            return
        job = {"job_id": run["job_id"], "run_name": run["name"]}
        named = {**wanted, "cluster_name": f"job-{run['job_id']}-run-{run['run_id']}-{shared or spec['task_key']}"}
        with self._place.documents.together():
            attempt["cluster_id"] = self._clusters.begin(run["workspace"], run["user"], named, "JOB", job)["cluster_id"]
            if shared:
                run["clusters"][shared] = attempt["cluster_id"]
                self._clusters.running(run["workspace"], attempt["cluster_id"])
            self.records.save(run)

    def _cluster_was_lost(self, run: Json, attempt: Json) -> str | None:
        found = self._clusters.find(run["workspace"], attempt["cluster_id"]) if attempt["cluster_id"] else None
        return "cluster" if found is not None and found["body"]["state"] in ("TERMINATING", "TERMINATED") else None

    def _end_cluster(self, run: Json, attempt: Json, spec: Json, reason: Json) -> None:
        """The end of an attempt is that of the cluster which was made for it alone."""
        if attempt["cluster_id"] and "new_cluster" in spec:
            self._clusters.terminate(run["workspace"], attempt["cluster_id"], reason)


def _waits(iteration: Json) -> bool:
    """Whether it is yet to begin: for the first time, or anew in a repair."""
    return not iteration["attempts"] or iteration.get("waits", False)


def _again(spec: Json, attempt: Json) -> bool:
    """Whether there is to be another attempt (SDK: max_retries, retry_on_timeout)."""
    most = int(spec.get("max_retries", 0))
    timed_out = attempt["outcome"]["result"] == "TIMEDOUT"
    wanted = bool(spec.get("retry_on_timeout")) if timed_out else task_states.unsuccessful(attempt["outcome"])
    return wanted and (most < 0 or attempt["number"] - attempt.get("first", 0) < most)


def _preempted(run: Json, attempt: Json, cluster: Json | None) -> float | None:
    """After how many seconds the machine is taken; where spot falls back, those of a second attempt are on demand."""
    taken: list[float] = run["preempt"]
    if cluster is None or not on_spot(cluster) or (falls_back(cluster) and attempt["number"]):
        return None
    return taken[attempt["number"]] if attempt["number"] < len(taken) else None


def _read(path: Path) -> Json:
    try:
        found: Json = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return found


def _write(path: Path, value: Json) -> None:
    """Whole or not at all, and for its owner only: it holds what the program's variables hold."""
    unfinished = path.with_suffix(".part")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(value), encoding="utf-8")
    unfinished.replace(path)
