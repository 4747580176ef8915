"""A supervisor: it takes jobs from the queue, one at a time, sees each through to its end, and leaves when there is none.

It may be killed at any point. Whatever it left half done is found by the next supervisor, which any look at the root
starts: a living runner is waited for, a result.json that is there is the truth, and a job without either is lost or
tried again. Runners wait at a gate until the database knows them, so none ever runs unknown.

Standard library only.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mlport.errors import MlportError
from mlport_local.engine import attempt, pool, process, queue
from mlport_local.engine.attempt import NOT_BEGUN, BuildError, Outcome
from mlport_local.engine.database import connect
from mlport_local.engine.process import Identity
from mlport_local.engine.queue import Limits, Work
from mlport_local.faults import fault
from mlport_local.layout import Layout

LOOK = 1.0
"""Seconds between looks for a cancellation that nobody told us of."""
INSIST = 5.0
"""Seconds beyond its grace after which a runner that does not stop is killed."""
ORPHANED = 60.0
"""Seconds after which a file of secrets without a job belongs to no submit that is still under way."""
LEFTOVERS = 1.0
"""Seconds that processes have to end themselves, once the program that started them has."""


class Supervisor:
    """One supervisor process of a root."""

    def __init__(self, layout: Layout, limits: Limits, core: Path, mlflow: str | None) -> None:
        self.layout, self.limits, self.core = layout, limits, core
        self.me = process.me()
        self.connection = connect(layout)
        self.start = partial(pool.start_supervisor, layout, limits.max_jobs, mlflow)
        self.statuses: dict[int, int] = {}
        self.wake, told = os.pipe()
        for descriptor in (self.wake, told):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def work(self) -> None:
        """Until nothing is queued that fits, and nothing is orphaned."""
        while claimed := queue.claim(self.connection, self.me, self.limits, self.start):
            work, adopted = claimed
            try:
                self.see_through(work, adopted)
            except MlportError:
                raise  # the database cannot be written: whoever can will take over
            except Exception as error:  # noqa: BLE001 - a job that trips us must not trip every supervisor after us
                traceback.print_exc()
                self.end_everyone(work)
                self.finish(work, Outcome("FAILED", "", f"the engine failed: {error!r}; supervisors.log tells where"), work.usage)

    # ---------------------------------------------------------------- a job

    def see_through(self, work: Work, adopted: bool) -> None:
        """All attempts of a job, to its end."""
        outcome = self.adopt(work) if adopted else None
        while True:
            if outcome is None:
                outcome = self.try_once(work)
            self.end_everyone(work)
            usage = attempt.total_usage([work.usage, outcome.result.get("usage", {})])
            outcome = self.settled(work, outcome)
            following = None
            if outcome.state == "FAILED" and work.attempt <= work.retries:
                following = queue.next_attempt(self.connection, self.me, work, usage, outcome.reason)
            if following is None:
                self.finish(work, self.settled(work, outcome), usage)
                return
            self.say(
                following, f"--- attempt {work.attempt} failed: {outcome.reason}; attempt {following.attempt} of {work.retries + 1} ---"
            )
            work, outcome = following, None

    def settled(self, work: Work, outcome: Outcome) -> Outcome:
        """The outcome as the job's own: CANCELLED only if that was asked for, and not if it had succeeded before."""
        asked = queue.is_cancelled(self.connection, self.me, work.id)
        if asked and outcome.state != "SUCCEEDED":
            return replace(outcome, state="CANCELLED", cause="cancelled", reason="cancelled")
        if outcome.state == "CANCELLED" and not asked:
            return replace(outcome, state="FAILED", cause="preempted", reason=f"interrupted: {outcome.reason}, and nobody had cancelled it")
        return outcome

    def finish(self, work: Work, outcome: Outcome, usage: dict[str, Any]) -> None:
        secrets_path(self.layout, work.id).unlink(missing_ok=True)
        result = {**outcome.result, "usage": usage}
        queue.finish(self.connection, self.me, work.id, state=outcome.state, cause=outcome.cause, reason=outcome.reason, result=result)

    # ---------------------------------------------------------------- an attempt

    def folder(self, work: Work) -> Path:
        return self.layout.job(work.id) / f"attempt-{work.attempt}"

    def try_once(self, work: Work) -> Outcome:
        """Make everything ready, run, and read what was left."""
        if queue.is_cancelled(self.connection, self.me, work.id):
            return NOT_BEGUN
        try:
            return self.run(work)
        except BuildError as error:
            return Outcome("FAILED", "environment", str(error), began=False)
        except OSError as error:
            return Outcome("FAILED", "", f"the engine could not run it: {error}", began=False)

    def run(self, work: Work) -> Outcome:
        job_folder, folder = self.layout.job(work.id), self.folder(work)
        manifests = attempt.prepare(work.request, work.id, job_folder, folder)
        env = attempt.job_environment(work.request, private_of(self.layout, work.id), job_folder)
        interpreter = self.environment(work, env) if work.request["setup"] else work.request["interpreter"]
        with attempt.gated(interpreter, self.core, manifests, env, self.log(work)) as runners:
            fault("before-running")
            adopt_orphans_of_ours()
            if not queue.running(self.connection, self.me, work.id, [runner.identity for runner in runners]):
                return NOT_BEGUN
            attempt.open_gates(runners)
        return self.wait(work, [runner.identity for runner in runners])

    def environment(self, work: Work, env: dict[str, str]) -> str:
        """The interpreter of the job's own environment, built if need be. Raises BuildError."""
        from mlport_local.engine.environments import Setup, ensure

        queue.note(self.connection, self.me, work.id, "BUILDING_ENVIRONMENT")
        cancelled = partial(queue.is_cancelled, self.connection, self.me, work.id)
        environment = ensure(self.layout, Setup.from_json(work.request["setup"]), env, self.log(work), cancelled)
        attempt.note_resolved(self.folder(work), {"environment": environment.digest, "packages": list(environment.packages)})
        return environment.python

    def adopt(self, work: Work) -> Outcome | None:
        """What became of a job whose supervisor died; None when its attempt has yet to begin."""
        if not work.runners:
            self.end_everyone(work)  # the building of an environment, perhaps
            return None
        outcome = self.wait(work, work.runners)
        return outcome if outcome.began else None

    def wait(self, work: Work, runners: Sequence[Identity]) -> Outcome:
        """Wait for all nodes; the first failure, or a cancellation, ends them all."""
        left, deadline = list(runners), None
        outcomes: dict[int, Outcome] = {}
        first_bad: Outcome | None = None
        while left:
            for identity in process.wait_any(left, wake=self.wake, timeout=LOOK):
                left.remove(identity)
                rank = runners.index(identity)
                outcomes[rank] = attempt.outcome_of(self.folder(work), rank, identity, self.status_of(identity.pid))
                if outcomes[rank].state != "SUCCEEDED":
                    first_bad = first_bad or outcomes[rank]
            self.reap()
            if left and deadline is None and (first_bad or queue.is_cancelled(self.connection, self.me, work.id)):
                deadline = time.monotonic() + work.request.get("grace", 10) + INSIST
                for identity in left:
                    process.send(identity, signal.SIGTERM)
            if deadline is not None and time.monotonic() > deadline:
                for identity in left:
                    process.send(identity, signal.SIGKILL)
        return attempt.together([outcomes[rank] for rank in range(len(runners))], first_bad)

    def end_everyone(self, work: Work) -> None:
        """Leave nobody of the job behind, wherever they went."""

        def left() -> list[Identity]:
            self.reap()
            return process.members(self.layout.job(work.id), work.runners, children=True)

        process.end_all(left, grace=LEFTOVERS)

    # ---------------------------------------------------------------- small things

    def log(self, work: Work) -> Path:
        return self.layout.job(work.id) / "log"

    def say(self, work: Work, line: str) -> None:
        """Add a line of our own to the job's log, on a line of its own."""
        with self.log(work).open("ab+") as log:
            if log.tell() > 0:
                log.seek(-1, os.SEEK_END)
                line = line if log.read(1) == b"\n" else f"\n{line}"
            log.write(f"{line}\n".encode())

    def status_of(self, pid: int) -> int | None:
        """A child's exit code, negative for a signal; None if it was not our child."""
        self.reap()
        return self.statuses.pop(pid, None)

    def reap(self) -> None:
        """Collect children that have ended, and forget what woke us."""
        while select.select([self.wake], [], [], 0)[0]:
            os.read(self.wake, 4096)
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self.statuses[ended[0]] = os.waitstatus_to_exitcode(ended[1])
        except ChildProcessError:
            return


def adopt_orphans_of_ours() -> None:
    """Become the parent of descendants that lose theirs, so that none is out of sight. Linux only; elsewhere the mark must do."""
    if process.LINUX:
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def secrets_path(layout: Layout, job_id: str) -> Path:
    """The file that holds what a job must be told and nobody else: readable by its owner only, removed at the end."""
    return layout.root / "secrets" / f"{job_id}.json"


def private_of(layout: Layout, job_id: str) -> dict[str, str]:
    """The private part of a job's environment."""
    try:
        found: dict[str, str] = json.loads(secrets_path(layout, job_id).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def export(supervisor: Supervisor, mlflow: str | None) -> None:
    """Let ended jobs become tracking runs, in a process of low priority that outlives us."""
    nice = [found] if (found := shutil.which("nice")) else []
    root, core = supervisor.layout.root, supervisor.core
    command = [*nice, sys.executable, "-m", "mlport_local.registry.export", str(root), *([mlflow] if mlflow else [])]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), str(core.parent)])
    process.start_detached(command, {**pool.plain_environment(os.environ), "PYTHONPATH": paths}, log=root / "supervisors.log")


def remove_secrets_of_nobody(supervisor: Supervisor) -> None:
    """A submit that was killed before its job was queued left a file that nobody else would remove."""
    for path in (supervisor.layout.root / "secrets").glob("*.json"):
        row = supervisor.connection.execute("SELECT ended FROM jobs WHERE id = ?", (path.stem,)).fetchone()
        is_over = row["ended"] is not None if row else time.time() - path.stat().st_mtime > ORPHANED
        if is_over:
            path.unlink(missing_ok=True)


def on_idle(supervisor: Supervisor, settings: dict[str, Any]) -> None:
    """What is done when the queue is empty."""
    remove_secrets_of_nobody(supervisor)
    if os.environ.get("MLPORT_EXPORT") != "0" and queue.waits_for_export(supervisor.connection):
        export(supervisor, settings["mlflow"])


def main(settings: dict[str, Any]) -> None:
    """Work for one root until there is no more to do."""
    os.closerange(3, 1 << 16)  # nothing of the client's: its sockets must not stay open through us
    os.chdir("/")
    for number in (signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)  # they only wake us
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    supervisor = Supervisor(
        Layout(Path(settings["root"])), Limits.of_machine(settings["max_jobs"]), Path(settings["core"]), settings["mlflow"]
    )
    supervisor.work()
    on_idle(supervisor, settings)
