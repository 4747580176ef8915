"""The emulator of Databricks, killed before and after each durable write of a run, of a schedule's firing and of an endpoint.

Started again it goes on: what was asked for is done once, and nothing is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aids.databricks.jobs import OVER, RUNNABLE, put, python, volume
from aids.databricks.place import call
from aids.databricks.serving import PATH, entity, predict, register
from aids.model_servers import ready_unnoted
from aids.process import Emulated, emulating

import mlport
from mlport.waiting import delays, wait_until

pytestmark = RUNNABLE
MOST = 60  # writes of one kind in one test
SECONDS = 90.0
FAILS_FIRST = """
import pathlib, sys
counted = pathlib.Path("/Volumes/main/ml/mlport", sys.argv[1])
with counted.open("a") as stream:
    stream.write("x")
sys.exit(len(counted.read_text()) < 2)
"""
SUBMIT = "/api/2.2/jobs/runs/submit"
Act = Callable[[], Any]


def kinds(*kinds: str, quick: tuple[str, int] | None = None) -> list[Any]:
    """The two sides of all writes of each kind; and of one side and number, in the quick share."""
    points = [f"{when}-{kind}" for kind in kinds for when in ("before", "after")]
    full = [pytest.param(point, range(1, MOST), id=point, marks=pytest.mark.faults_full) for point in points]
    return [*([pytest.param(quick[0], [quick[1]], id=f"{quick[0]}-{quick[1]}")] if quick else []), *full]


@pytest.fixture
def emulated(tmp_path: Path) -> Iterator[Emulated]:
    with emulating("databricks", tmp_path / "state") as emulated:
        yield emulated


class Deaths:
    """Has something done again and again, the emulator dying at another write each time, until it is done without."""

    def __init__(self, emulated: Emulated, point: str, numbers: Any) -> None:
        self.emulated, self.point, self.numbers = emulated, point, numbers
        self.count = 0

    def __iter__(self) -> Iterator[int]:
        for number in self.numbers:
            before = self.count
            self.emulated.die_at(f"{self.point} {number}")
            yield number
            self.emulated.die_at(None)
            if self.count == before:
                break
        assert self.count, f"nobody got to {self.point}"

    def survived(self, act: Act) -> Any:
        """What comes of it, of an emulator that is started again when it has died."""
        if not self.emulated.is_dead:  # a look may not ask it at all
            try:
                return act()
            except OSError:
                wait_until(lambda: self.emulated.is_dead, bool, timeout=SECONDS, what="its death")
        self.count += 1
        self.emulated.start()
        return act()

    def until(self, look: Act) -> Any:
        """What a look gives as soon as it gives something, over a death."""
        pauses = delays(first=0.02, ceiling=0.2)
        return wait_until(lambda: self.survived(look), bool, pauses=pauses, timeout=SECONDS, what=f"the end, over {self.point}")

    def ask(self, method: str, path: str, body: Any = None, *fine: int) -> Any:
        """The answer of a call that must go well, or with a status that is fine: {} then."""
        status, said = self.survived(lambda: call(self.emulated.ready, method, path, body))
        assert status in (200, *fine), said
        return said if status == 200 else {}


@pytest.mark.parametrize(("point", "numbers"), kinds("runs", "run-ids", "clusters", quick=("before-runs", 3)))
def test_a_run_and_its_second_attempt_are_made_once(emulated: Emulated, point: str, numbers: Any) -> None:
    """Each attempt of its program counts; it fails the first time, and is tried once more."""
    deaths, program = Deaths(emulated, point, numbers), put(emulated.ready, "/Shared/counted.py", FAILS_FIRST)
    told = []
    for number in deaths:
        task = python(program, f"counted-{number}", max_retries=1)
        body = {"tasks": [task], "idempotency_token": f"number-{number}"}
        run_id = deaths.ask("POST", SUBMIT, body)["run_id"]

        def ended(run_id: int = run_id) -> Any:
            run = deaths.ask("GET", f"/api/2.2/jobs/runs/get?run_id={run_id}")
            return run if run["state"]["life_cycle_state"] in OVER else None

        run = deaths.until(ended)
        assert run["state"]["result_state"] == "SUCCESS", run["state"]
        assert [each["attempt_number"] for each in run["tasks"]] == [0, 1]
        assert volume(emulated.ready, f"counted-{number}").read_text() == "xx"
        assert deaths.ask("POST", SUBMIT, body)["run_id"] == run_id
        told.append(run_id)
    listed = deaths.ask("GET", "/api/2.2/jobs/runs/list?limit=25")["runs"]
    assert sorted(each["run_id"] for each in listed) == sorted(told)[-25:]
    clusters = [each["state"] for each in deaths.ask("GET", "/api/2.1/clusters/list").get("clusters", ())]
    assert set(clusters) <= {"TERMINATED"}


@pytest.mark.parametrize(("point", "numbers"), kinds("run-tokens", "job-firings", quick=("after-run-tokens", 1)))
def test_a_schedule_fires_once_at_each_time(emulated: Emulated, point: str, numbers: Any) -> None:
    deaths, program = Deaths(emulated, point, numbers[:4]), put(emulated.ready, "/Shared/tick.py", "print('tick')")
    schedule = {"quartz_cron_expression": "* * * * * ?", "timezone_id": "UTC", "pause_status": "PAUSED"}
    job = {"name": "tick", "schedule": schedule, "max_concurrent_runs": 100, "tasks": [python(program)]}
    job_id = deaths.ask("POST", "/api/2.2/jobs/create", job)["job_id"]

    def pause(status: str) -> None:
        settings = {"schedule": {**schedule, "pause_status": status}}
        deaths.ask("POST", "/api/2.2/jobs/update", {"job_id": job_id, "new_settings": settings})

    def fired() -> list[Any]:
        return list(deaths.ask("GET", f"/api/2.2/jobs/runs/list?job_id={job_id}&limit=25").get("runs", ()))

    pause("UNPAUSED")
    for _ in deaths:
        known = {run["run_id"] for run in fired()}
        died = deaths.count
        deaths.until(lambda died=died: deaths.count > died or None if deaths.survived(fired) else None)
        deaths.until(lambda known=known: {run["run_id"] for run in fired()} > known)
    pause("PAUSED")
    runs = deaths.until(lambda: runs if (runs := fired()) and all(run["state"]["life_cycle_state"] in OVER for run in runs) else None)
    assert {run["state"]["result_state"] for run in runs} == {"SUCCESS"}
    seconds = [run["start_time"] // 1000 for run in runs]
    assert len(set(seconds)) == len(seconds)


@pytest.mark.parametrize(("point", "numbers"), kinds("servers", "servingEndpoints"))
def test_an_endpoint_is_made_changed_and_gone(emulated: Emulated, tmp_path: Path, point: str, numbers: Any) -> None:
    """Of what was begun nothing is doubled: each of its entities has one server, and none is left in the end."""
    register(emulated.ready, tmp_path / "models")
    deaths = Deaths(emulated, point, numbers)

    def servers() -> int:
        with mlport.connect(f"local://{emulated.folder / 'databricks' / 'containers'}") as engine:
            return sum(not each.state.terminal for each in engine.jobs.list())

    for number in deaths:
        name = f"e{number}"

        def settled(version: int, name: str = name) -> Any:
            found = deaths.ask("GET", f"{PATH}/{name}")
            done = found["state"]["config_update"] == "NOT_UPDATING" and found["config"]["config_version"] == version
            return found if done and found["state"]["ready"] == "READY" else None

        deaths.ask("POST", PATH, {"name": name, "config": {"served_entities": [entity("blue")]}}, 400, 409)
        deaths.until(lambda: settled(1))
        deaths.ask("PUT", f"{PATH}/{name}/config", {"served_entities": [entity("green", "2")]}, 409)
        found = deaths.until(lambda: settled(2))
        assert [each["name"] for each in found["config"]["served_entities"]] == ["green"]
        status, said = deaths.survived(lambda name=name: predict(emulated.ready, name))
        assert (status, said) == (200, {"predictions": [2]})
        deaths.until(lambda: servers() == 1)
        deaths.ask("DELETE", f"{PATH}/{name}", None, 404)
        deaths.until(lambda: deaths.ask("GET", PATH) == {"endpoints": []} and servers() == 0)
        deaths.until(lambda: not list((emulated.folder / "databricks" / "served").glob("w*")))


@pytest.mark.faults_full
def test_a_server_that_was_ready_before_its_emulator_came_back_is_found_ready(emulated: Emulated, tmp_path: Path) -> None:
    """The emulator dies when it has begun the server and has not noted it, and is away until the server answers."""
    register(emulated.ready, tmp_path / "models")
    wanted = {"name": "early", "config": {"served_entities": [entity("blue")]}}
    ready_unnoted(emulated, "servers", "served", lambda: call(emulated.ready, "POST", PATH, wanted))
    wait_until(
        lambda: call(emulated.ready, "GET", f"{PATH}/early")[1]["state"]["ready"], lambda told: told == "READY", timeout=30, what="READY"
    )
    assert predict(emulated.ready, "early") == (200, {"predictions": [1]})
