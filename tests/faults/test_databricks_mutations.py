"""Each call that changes something at Databricks, refused, cut off before and after the work, and made by a client that dies of it.

Asked again, each makes one thing; nothing is left that nobody asked for.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aids.calls import struck
from aids.databricks.account import ROWS, TRUTH, classifier
from aids.databricks.jobs import RUNNABLE
from aids.databricks.mutator import after, connected, verbs
from aids.databricks.place import call, emulator, set_faults
from aids.mutations import FAULTS as COMMON
from aids.mutations import LIFE, QUICK, SERVERS, SPLITS, exit_status, gone, persist, servers

import mlport
from mlport.emulation.server import Ready
from mlport.waiting import delays, wait_until
from mlport_databricks.notes import FOLDER, Note

__all__ = ["classifier", "emulator"]

STORE = "*s3*.amazonaws.com"
FAULTS: dict[str, dict[str, Any]] = {
    **COMMON,
    "state lost after": {"host": STORE, "effect": "error", "status": 503, "times": 5},  # mlport.transfer.RETRIES, and the first
}
CONFIG = {"endpoints.update_config": "PUT /api/2.0/serving-endpoints/*/config"}
CALLS = {  # of each verb: the operations that change something, and how the emulator sees them
    "register": {
        "models.register, registered-models/create": "POST *unity-catalog/registered-models/create",
        "models.register, model-versions/create": "POST *unity-catalog/model-versions/create",
        "models.register, model-versions/finalize": "POST *unity-catalog/model-versions/finalize",
    },
    "create": {"endpoints.create": "POST /api/2.0/serving-endpoints"},
    "deploy": CONFIG,
    "set_traffic": CONFIG,
    "undeploy": CONFIG,
    "delete": {"endpoints.delete": "DELETE /api/2.0/serving-endpoints/*"},
    "sweep": {"jobs.submit": "POST */jobs/runs/submit"},
    "schedule": {"jobs.create": "POST */jobs/create"},
}
KEYLESS = ("set_traffic", "undeploy", "delete")
"""Asked again, these are new operations; the note of one whose answer was lost is left behind, and nobody goes on with it."""


@pytest.fixture(autouse=True)
def no_faults(emulator: Ready) -> Iterator[None]:
    yield
    set_faults(emulator)


class Mutator:
    """Does things under one kind of fault, until they are done."""

    def __init__(self, ready: Ready, client: mlport.Client, fault: str, folder: Path) -> None:
        self.ready, self.client, self.fault, self.folder = ready, client, fault, folder
        self.name = "t" + "".join(filter(str.isalnum, fault))

    def do(self, verb: str) -> None:
        """Do it, each of its calls under the fault once; and once more, which changes nothing."""
        calls, act = CALLS[verb], verbs(self.client, self.name, self.folder)[verb]
        if self.fault == "killed after":
            for operation in calls:
                assert self._dies_after(operation, verb) == -signal.SIGKILL, f"{verb} did not get to {operation}"
            persist(act)
        elif self.fault == "state lost after":
            for operation in calls:
                self._loses_state_after(operation, verb)
            persist(act)
        else:
            set_faults(self.ready, *({"match": match, "times": 1, **FAULTS[self.fault]} for match in calls.values()))
            persist(act)
            assert struck(self.ready) == len(calls)
        persist(act)

    def _dies_after(self, operation: str, verb: str) -> int:
        target = self.ready.targets["databricks"]
        return exit_status("aids.databricks.mutator", target=target, verb=verb, name=self.name, folder=self.folder, die_after=operation)

    def _loses_state_after(self, operation: str, verb: str) -> None:
        """Do it once, with an object store that fails after the call was answered."""
        with connected(self.ready.targets["databricks"]) as client:
            connection = client.session.connection
            connection.call = after(operation, lambda: set_faults(self.ready, FAULTS[self.fault]), connection.call)
            persist(verbs(client, self.name, self.folder)[verb])
        assert struck(self.ready) == FAULTS[self.fault]["times"]

    # ---------------------------------------------------------------- what is there afterwards

    def statuses(self) -> list[str]:
        """Of the versions of the model in Unity Catalog."""
        status, said = call(self.ready, "GET", f"/api/2.1/unity-catalog/models/main.ml.{self.name}/versions")
        assert status == 200, said
        return [each["status"] for each in said.get("model_versions", ())]

    def split(self) -> dict[str, int]:
        found = self.client.endpoints.get(self.name)
        assert list(found.predict(ROWS)) == TRUTH
        return found.split

    def check(self, verb: str) -> None:
        """Exactly what was asked for is there."""
        client = self.client
        assert self.statuses() == ["READY"]
        if verb == "delete":
            assert gone(lambda: client.endpoints.get(self.name))
        elif verb != "register":
            assert self.split() == SPLITS.get(verb, {"blue": 100})
        for _, kept in client.session.state.list(FOLDER):
            note = Note(**json.loads(kept.value))
            assert note.target != self.name or note.ended or note.kind in KEYLESS, note
        expected = SERVERS.get(verb, 2)
        wait_until(lambda: servers(self.ready) == expected, bool, pauses=delays(ceiling=0.3), timeout=60, what=f"{expected} model servers")


@pytest.fixture
def client(emulator: Ready) -> Iterator[mlport.Client]:
    with connected(emulator.targets["databricks"]) as client:
        yield client


FAULT = pytest.mark.parametrize("fault", [pytest.param(each, marks=() if each == QUICK else pytest.mark.faults_full) for each in FAULTS])


@FAULT
def test_each_change_of_a_model_and_its_endpoint_is_made_once(emulator: Ready, client: mlport.Client, fault: str, classifier: Path) -> None:
    mutator = Mutator(emulator, client, fault, classifier)
    for verb in LIFE:
        if verb == "undeploy":
            client.endpoints.get(mutator.name).set_traffic({"blue": 100, "green": 0})
        mutator.do(verb)
        mutator.check(verb)


@RUNNABLE
@FAULT
def test_each_trial_and_each_schedule_is_one_job(emulator: Ready, client: mlport.Client, fault: str, tmp_path: Path) -> None:
    mutator = Mutator(emulator, client, fault, tmp_path)
    mutator.do("sweep")
    found = verbs(client, mutator.name, tmp_path)["sweep"]()
    refused = fault == "429"  # for good, as a limit of the workspace is
    assert [(trial.params["x"], trial.value) for trial in found.trials] == [(1.0, None if refused else 1.0), (2.0, 2.0)]
    jobs = [each.id for each in client.jobs.list(name=mutator.name)]
    assert sorted(jobs) == sorted(str(trial.job_id) for trial in found.trials if trial.job_id)
    assert len(jobs) == 1 + (not refused)
    mutator.do("schedule")
    status, said = call(emulator, "GET", "/api/2.2/jobs/list?limit=100")
    assert status == 200
    made = [each["job_id"] for each in said["jobs"] if mutator.name in each["settings"]["name"].split()]
    assert [str(each) for each in made] == [client.schedules.get(mutator.name).record.native_name]
