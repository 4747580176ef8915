"""A supervisor: it takes jobs from the queue, one at a time, sees each through to its end, and leaves when there is none.

It may be killed at any point. Whatever it left half done is found by the next supervisor, which any look at the root
starts: a living runner is waited for, a result.json that is there is the truth, and a job without either is lost or
tried again. Runners wait at a gate until the database knows them, so none ever runs unknown.

Standard library only.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mlport.errors import MlportError
from mlport_local.engine import attempt, pool, process, steps
from mlport_local.engine.attempt import NOT_BEGUN, BuildError, Outcome
from mlport_local.engine.children import Children, adopt_orphans_of_ours
from mlport_local.engine.database import connect
from mlport_local.engine.housekeeping import on_idle, remove_scratch
from mlport_local.engine.log_limit import limited
from mlport_local.engine.private import private_of, secrets_path
from mlport_local.engine.process import Identity
from mlport_local.engine.reservation import Limits
from mlport_local.engine.steps import Work
from mlport_local.layout import Layout

LOOK = 1.0
"""Seconds between looks for a cancellation that nobody told us of."""
INSIST = 5.0
"""Seconds beyond its grace after which a runner that does not stop is killed."""
LEFTOVERS = 1.0
"""Seconds that processes have to end themselves, once the program that started them has."""


class Supervisor:
    """One supervisor process of a root."""

    def __init__(self, layout: Layout, limits: Limits, core: Path, mlflow: str | None) -> None:
        self.layout, self.limits, self.core = layout, limits, core
        self.me = process.me()
        self.connection = connect(layout)
        self.start = partial(pool.start_supervisor, layout, limits, mlflow)
        self.children = Children()

    def work(self) -> None:
        """Until nothing is queued that fits, and nothing is orphaned."""
        while claimed := steps.claim(self.connection, self.me, self.limits, self.start):
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
            outcome, again = self.settled(work, outcome)
            following = None
            if again:
                following = steps.next_attempt(self.connection, self.me, work, usage, outcome.reason)
            if following is None:
                self.finish(work, self.settled(work, outcome)[0], usage)
                return
            self.say(following, _between(work, outcome, following))
            work, outcome = following, None

    def settled(self, work: Work, outcome: Outcome) -> tuple[Outcome, bool]:
        """The outcome as the job's own, and whether to try again.

        CANCELLED only if that was asked for, and not if it had succeeded before. An attempt that was preempted is tried
        again and uses no retry; one that somebody else interrupted counts as failed.
        """
        asked = steps.asked(self.connection, self.me, work)
        if outcome.state == "SUCCEEDED":
            return outcome, False
        if asked.cancelled:
            return replace(outcome, state="CANCELLED", cause="cancelled", reason="cancelled"), False
        if asked.preempted and (outcome.state == "CANCELLED" or not outcome.told):
            return replace(outcome, state="FAILED", cause="preempted", reason="preempted: its place was asked back"), True
        if outcome.state == "CANCELLED":
            reason = f"interrupted: {outcome.reason}, and nobody had cancelled it"
            outcome = replace(outcome, state="FAILED", cause="preempted", reason=reason)
        return outcome, work.failures <= work.retries

    def finish(self, work: Work, outcome: Outcome, usage: dict[str, Any]) -> None:
        secrets_path(self.layout, work.id).unlink(missing_ok=True)
        if outcome.state == "SUCCEEDED" and not work.request.get("keep_work"):
            remove_scratch(self.layout.job(work.id))
        result = {**outcome.result, "usage": usage}
        steps.finish(self.connection, self.me, work.id, state=outcome.state, cause=outcome.cause, reason=outcome.reason, result=result)

    # ---------------------------------------------------------------- an attempt

    def folder(self, work: Work) -> Path:
        return self.layout.job(work.id) / f"attempt-{work.attempt}"

    def try_once(self, work: Work) -> Outcome:
        """Make everything ready, run, and read what was left."""
        if steps.asked(self.connection, self.me, work).cancelled:
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
        envs = attempt.node_environments(env, work.devices, len(manifests), there_are=self.limits.gpus > 0)
        with attempt.gated(interpreter, self.core, manifests, envs, job_folder) as runners:
            adopt_orphans_of_ours()
            if not steps.running(self.connection, self.me, work.id, [runner.identity for runner in runners]):
                return NOT_BEGUN
            attempt.open_gates(runners)
        return self.wait(work, [runner.identity for runner in runners])

    def environment(self, work: Work, env: dict[str, str]) -> str:
        """The interpreter of the job's own environment, built if need be. Raises BuildError."""
        from mlport_local.engine.environments import Setup, ensure

        steps.note(self.connection, self.me, work.id, "BUILDING_ENVIRONMENT")
        setup = Setup.from_json(work.request["setup"])
        environment = ensure(self.layout, setup, env, self.log(work), lambda: steps.asked(self.connection, self.me, work).cancelled)
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
        """Wait for all nodes; the first failure, a cancellation or a preemption ends them all."""
        left, deadline = list(runners), None
        outcomes: dict[int, Outcome] = {}
        first_bad: Outcome | None = None
        with limited(self.log(work), work.request.get("log_limit")):
            while left:
                for identity in process.wait_any(left, wake=self.children.wake, timeout=LOOK):
                    left.remove(identity)
                    rank = runners.index(identity)
                    outcomes[rank] = attempt.outcome_of(self.folder(work), rank, identity, self.children.status_of(identity.pid))
                    if outcomes[rank].state != "SUCCEEDED":
                        first_bad = first_bad or outcomes[rank]
                self.children.reap()
                if left and deadline is None and (first_bad or self.is_to_stop(work)):
                    deadline = time.monotonic() + work.request.get("grace", 10) + INSIST
                    for identity in left:
                        process.send(identity, signal.SIGTERM)
                if deadline is not None and time.monotonic() > deadline:
                    for identity in left:
                        process.send(identity, signal.SIGKILL)
        return attempt.together([outcomes[rank] for rank in range(len(runners))], first_bad)

    def is_to_stop(self, work: Work) -> bool:
        asked = steps.asked(self.connection, self.me, work)
        return asked.cancelled or asked.preempted

    def end_everyone(self, work: Work) -> None:
        """Leave nobody of the job behind, wherever they went."""

        def left() -> list[Identity]:
            self.children.reap()
            return process.members(self.layout.job(work.id), work.runners, children=True)

        process.end_all(left, grace=LEFTOVERS)

    # ---------------------------------------------------------------- its log

    def log(self, work: Work) -> Path:
        return self.layout.job(work.id) / "log"

    def say(self, work: Work, line: str) -> None:
        """Add a line of our own to the job's log, on a line of its own."""
        with self.log(work).open("ab+") as log:
            if log.tell() > 0:
                log.seek(-1, os.SEEK_END)
                line = line if log.read(1) == b"\n" else f"\n{line}"
            log.write(f"{line}\n".encode())


def _between(work: Work, outcome: Outcome, following: Work) -> str:
    """What the log says between two attempts."""
    last = following.attempt - following.failures + work.retries + 1
    how = "was preempted" if following.failures == work.failures else f"failed: {outcome.reason}"
    return f"--- attempt {work.attempt} {how}; attempt {following.attempt} of {last} ---"


def main(settings: dict[str, Any]) -> None:
    """Work for one root until there is no more to do."""
    os.closerange(3, 1 << 16)  # nothing of the client's: its sockets must not stay open through us
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    layout, core, mlflow = Layout(Path(settings["root"])), Path(settings["core"]), settings["mlflow"]
    supervisor = Supervisor(layout, Limits(**settings["limits"]), core, mlflow)
    supervisor.work()
    on_idle(layout, supervisor.connection, core, mlflow)
