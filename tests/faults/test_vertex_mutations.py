"""Each call that changes something at Vertex AI, refused, cut off before and after the work, and made by a client that dies of it.

Asked again, each makes one thing; nothing is left that nobody asked for.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aids.calls import struck
from aids.mutations import FAULTS, LIFE, QUICK, SERVERS, SPLITS, exit_status, gone, persist, servers, sweep
from aids.vertex.account import ROWS, TRUTH, classifier
from aids.vertex.models import nothing_left
from aids.vertex.mutator import connected, verbs
from aids.vertex.place import emulator, set_faults

import mlport
from mlport.emulation.server import Ready
from mlport.errors import AmbiguousError
from mlport.spi import State
from mlport_vertex.sagas import FOLDER, Note

__all__ = ["classifier", "emulator"]

CALLS = {  # of each verb: those that change something, and how the emulator sees them
    "register": {"models.upload": "POST *models:upload"},
    "create": {"endpoints.create": "POST */endpoints", "endpoints.deployModel": "POST *:deployModel"},
    "deploy": {"endpoints.deployModel": "POST *:deployModel"},
    "set_traffic": {"endpoints.patch": "PATCH */endpoints/*"},
    "undeploy": {"endpoints.undeployModel": "POST *:undeployModel"},
    "delete": {"endpoints.undeployModel": "POST *:undeployModel", "endpoints.delete": "DELETE */endpoints/*"},
    "sweep": {"customJobs.create": "POST */customJobs"},
    "tune": {"hyperparameterTuningJobs.create": "POST */hyperparameterTuningJobs"},
    "fire": {"customJobs.create": "POST */customJobs"},
}
KEYLESS = ("undeploy", "delete")
"""Asked again, these are new operations; the note of one whose answer was lost is left behind, and nobody goes on with it."""


@pytest.fixture(autouse=True)
def no_server_left(emulator: Ready) -> Iterator[None]:
    with nothing_left(emulator):
        yield
        set_faults(emulator)


class Mutator:
    """Does things under one kind of fault, until they are done."""

    def __init__(self, ready: Ready, client: mlport.Client, transport: str, fault: str, folder: Path) -> None:
        self.ready, self.client, self.transport, self.fault, self.folder = ready, client, transport, fault, folder
        self.name = "t" + "".join(filter(str.isalnum, f"{fault}{transport}"))

    def do(self, verb: str) -> None:
        """Do it, each of its calls under the fault once."""
        calls = CALLS.get(verb, {})
        if self.fault == "killed after":
            for method in calls:
                assert self._dies_after(method, verb) == -signal.SIGKILL, f"{verb} did not get to {method}"
        else:
            set_faults(self.ready, *({"match": match, "times": 1, **FAULTS[self.fault]} for match in calls.values()))
        persist(verbs(self.client, self.name, self.folder)[verb])
        persist(verbs(self.client, self.name, self.folder)[verb]) if verb not in ("undeploy", "fire") else None
        assert self.fault == "killed after" or struck(self.ready) == len(calls)

    def _dies_after(self, method: str, verb: str) -> int:
        target, orders = self.ready.targets["vertex"], {"verb": verb, "name": self.name, "folder": self.folder, "die_after": method}
        return exit_status("aids.vertex.mutator", target=target, transport=self.transport, **orders)

    # ---------------------------------------------------------------- what is there afterwards

    def deployments(self) -> dict[str, int]:
        found = self.client.endpoints.get(self.name)
        assert list(found.predict(ROWS)) == TRUTH
        return found.split

    def check(self, verb: str) -> None:
        """Exactly what was asked for is there."""
        client, api = self.client, self.client.session.api
        assert [each.version for each in client.models.versions(self.name)] == ["1"]
        files = {address for address, _ in api.objects.list(f"{client.config.staging}/models/{self.name}")}
        assert len({address.removeprefix(client.config.staging).split("/")[3] for address in files}) == 1
        if verb == "delete":
            assert gone(lambda: client.endpoints.get(self.name))
        elif verb != "register":
            assert self.deployments() == SPLITS.get(verb, {"blue": 100})
        for _, kept in client.session.state.list(FOLDER):
            note = Note.decoded(kept.value)
            assert note.target != self.name or note.ended or note.kind in KEYLESS, note
        assert servers(self.ready) == SERVERS.get(verb, 2)


def cases() -> list[Any]:
    pairs = [(fault, transport) for fault in FAULTS for transport in ("rest", "grpc")]
    return [pytest.param(*pair, marks=() if pair == (QUICK, "rest") else pytest.mark.faults_full) for pair in pairs]


@pytest.fixture
def client(emulator: Ready, transport: str) -> Iterator[mlport.Client]:
    with connected(emulator.targets["vertex"], transport) as client:
        yield client


@pytest.mark.parametrize(("fault", "transport"), cases())
def test_each_change_of_a_model_and_its_endpoint_is_made_once(
    emulator: Ready,
    client: mlport.Client,
    transport: str,
    fault: str,
    classifier: dict[str, Path],
) -> None:
    mutator = Mutator(emulator, client, transport, fault, classifier["skops"])
    for verb in LIFE:
        mutator.do(verb)
        mutator.check(verb)


@pytest.mark.faults_full
@pytest.mark.parametrize("transport", ["rest"])
def test_what_ends_between_a_refusal_and_a_look_is_seen_to_be_done(
    emulator: Ready, client: mlport.Client, classifier: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second `undeploy` is refused while the first, whose answer was lost, is under way; that ends before anybody looks."""
    mutator = Mutator(emulator, client, "rest", "cut off after", classifier["skops"])
    mutator.name, api, looked = "tendsbetween", client.session.api, []
    for verb in ("register", "create", "deploy"):
        persist(verbs(client, mutator.name, mutator.folder)[verb])
    send = api.call

    def slow(method: str, **given: Any) -> Any:
        if method == "operations.list":
            looked.append(method)
            while any(not each.get("done") for each in send(method, **given)["operations"]):
                time.sleep(0.02)
        return send(method, **given)

    monkeypatch.setattr(api, "call", slow)
    endpoint = client.endpoints.get(mutator.name)
    set_faults(emulator, {"match": CALLS["undeploy"]["endpoints.undeployModel"], "times": 1, **FAULTS["cut off after"]})
    with pytest.raises(AmbiguousError):
        endpoint.undeploy("green")
    endpoint.undeploy("green")
    assert looked == ["operations.list"]
    mutator.check("undeploy")
    client.endpoints.delete(mutator.name)


@pytest.mark.parametrize(("fault", "transport"), cases())
def test_each_trial_and_each_firing_is_one_job(
    emulator: Ready,
    client: mlport.Client,
    transport: str,
    fault: str,
    tmp_path: Path,
) -> None:
    mutator = Mutator(emulator, client, transport, fault, tmp_path)
    mutator.do("sweep")
    found = client.sweeps.run(sweep(mutator.name, native=False), key=mutator.name)
    refused = fault == "429"  # for good, as an exhausted quota is: Google says no more than that
    assert [(trial.params["x"], trial.value) for trial in found.trials] == [(1.0, None if refused else 1.0), (2.0, 2.0)]
    jobs = [each.id for each in client.jobs.list(name=mutator.name)]
    assert sorted(jobs) == sorted(str(trial.job_id) for trial in found.trials if trial.job_id)
    assert len(jobs) == 1 + (not refused)
    mutator.do("tune")
    tuned = client.session.api.call("hyperparameterTuningJobs.list", filter=f'display_name="{mutator.name}-tuned"')
    assert [len(each["trials"]) for each in tuned["hyperparameterTuningJobs"]] == [2]
    mutator.do("schedule")
    mutator.do("fire")
    fired = {each.id for each in client.jobs.list(name=mutator.name)} - set(jobs)
    (firing,) = client.schedules.get(mutator.name).firings()
    if refused:
        assert (fired, firing.job_id, bool(firing.error)) == (set(), None, True)
    else:
        assert fired == {firing.job_id}
        assert mlport.Job(str(firing.job_id), client).wait(60).state is State.SUCCEEDED
