"""Every process of an endpoint is killed at every durable write. Afterwards the state is true, and nothing answered is lost.

The points are read from the code, so a new one without a test fails here.
"""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import mlport.capture
import mlport_local.serving
from mlport.errors import NotFoundError, PredictionError
from mlport.spi import EndpointState, Window
from mlport_local.engine import process
from mlport_local.serving import staff
from mlport_local.serving.endpoint_store import KINDS

sys.path.insert(0, str(Path(__file__).parents[1]))
from aids.local.endpoints import ROW, Place, until

MUTATIONS = ("create", "deploy", "set_traffic", "undeploy", "delete")
COPIED = ("after-model-copied", "after-model-named")
CLIENT = [
    *[(kind, f"{when}-endpoint-{kind}") for kind in KINDS for when in ("before", "after")],
    *[(kind, point) for kind in ("create", "deploy") for point in COPIED],
    ("create", "after-key-written"),
    ("rotate_key", "after-key-prepared"),
    ("nothing", "before-endpoint-noted"),
    ("nothing", "after-endpoint-noted"),
]
ALWAYS = ("before-endpoint-observed", "after-endpoint-observed", "before-table", "after-table")
SUCCEEDED = ("before-endpoint-succeeded", "after-endpoint-succeeded")
KEEPER = [
    *[(kind, point) for kind in ("create", "deploy", "set_traffic", "undeploy", "rotate_key") for point in (*ALWAYS, *SUCCEEDED)],
    *[("create", point) for point in ("before-endpoint-port", "after-endpoint-port", "after-router-start")],
    *[(kind, "after-worker-start") for kind in ("create", "deploy")],
    *[("delete", point) for point in ("before-files-removed", "before-endpoint-removed", "after-endpoint-removed")],
    *[("broken", point) for point in ("before-endpoint-failed", "after-endpoint-failed")],
]
ROUTER = ("before-observe-line", "after-observe-line", "after-observe-settle")
WORKER = ("before-capture-write", "after-capture-write")
COMPACTOR = ("before-compact-write", "before-compact-replace", "after-compact-replace", "before-compact-remove", "after-compact-remove")
MERGER = ("before-merge-replace", "after-merge-replace", "after-merge-remove")
FAST_CLIENT = {("deploy", "after-endpoint-deploy"), ("deploy", "after-model-named")}
FAST_KEEPER = {("deploy", "after-worker-start"), ("set_traffic", "after-table")}


def _points(package: Any) -> Iterator[str]:
    for file in Path(package.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("fault", "durable"):
                yield from _named(node.func.id, node.args[-1])


def _named(function: str, name: ast.expr) -> Iterator[str]:
    if isinstance(name, ast.JoinedStr):
        text = ast.unparse(name)[2:-1]
        names = [text.replace("{kind}", kind) for kind in KINDS] if "{kind}" in text else []
    else:
        names = [ast.literal_eval(name)]
    for one in names:
        yield from (f"before-{one}", f"after-{one}") if function == "durable" else (one,)


def test_every_point_in_the_code_has_its_kill() -> None:
    killed = {point for _, point in (*CLIENT, *KEEPER)} | {*ROUTER, *WORKER, *COMPACTOR, *MERGER}
    package = Path(mlport_local.__file__ or "").parent
    here = {*_points(mlport_local.serving), *_points(mlport.capture)}
    here |= {name for node in ast.walk(ast.parse((package / "endpoints.py").read_text())) if isinstance(node, ast.Call)
             and isinstance(node.func, ast.Name) and node.func.id == "fault" for name in _named("fault", node.args[0])}  # fmt: skip
    assert here == killed


class Faulty(Place):
    """A place whose processes die at the point that a file names."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.switch = root / "die-at"

    def kill_at(self, point: str) -> None:
        part = self.switch.with_suffix(".part")
        part.write_text(point)
        part.replace(self.switch)

    def killed(self) -> None:
        until(lambda: not self.switch.exists())

    def run(self, verb: str, token: str, **env: str) -> int:
        program = Path(__file__).with_name("endpoint_client.py")
        return subprocess.run(
            [sys.executable, program, str(self.config.root), verb, token], env={**os.environ, **env}, timeout=120
        ).returncode

    def ready(self, *, green: bool) -> None:
        """An endpoint `e` whose blue has all traffic, and a green with none if wanted."""
        if self.store.look("e") is None:
            self.done(self.endpoints.create(self.endpoint("e"), token=self.token()))
        there = self.store.get("e").desired.deployments
        if green and "green" not in there:
            self.done(self.endpoints.deploy(self.deployment("e", "green"), token=self.token()))
        elif "green" in there:
            self.split("e", blue=100, green=0)
            if not green:
                self.done(self.endpoints.undeploy("e", "green", token=self.token()))
        self.settled("e")

    def prepare(self, verb: str) -> None:
        """What `verb` is done to."""
        if verb in ("create", "nothing", "broken"):
            if self.store.look("e"):
                self.done(self.endpoints.delete("e", token=self.token()))
                until(lambda: self.keeper("e") is None)
        else:
            self.ready(green=verb in ("set_traffic", "undeploy"))

    def check(self, verb: str) -> None:
        """All is as it should be once `verb` is done."""
        if verb in ("delete", "nothing", "broken"):
            with pytest.raises(NotFoundError):
                self.endpoints.get("e")
            folder = self.config.layout.endpoint("e")
            until(lambda: not staff.marked(folder) and self.keeper("e") is None)
            assert {path.name for path in folder.iterdir()} <= {"capture", "keeper.lock"} if folder.exists() else True
            return
        self.settled("e")
        deployments = {"deploy": {"blue", "green"}, "set_traffic": {"blue", "green"}}.get(verb, {"blue"})
        row = self.store.get("e")
        assert set(row.desired.deployments) == deployments
        assert row.under_way is None
        assert self.endpoints.get("e").split == (
            {"blue": 40, "green": 60} if verb == "set_traffic" else {"blue": 100, **dict.fromkeys(deployments - {"blue"}, 0)}
        )
        for name in deployments:
            assert self.endpoints.predict("e", [ROW], deployment=name).predictions == [True]
        folder = self.config.layout.endpoint("e")
        assert len(staff.marked(folder)) == 1 + len(deployments)
        until(
            lambda: (
                {path.name for path in (folder / "models").iterdir()} == {Path(one.folder).name for one in row.desired.deployments.values()}
            )
        )


@pytest.fixture(scope="module")
def faulty() -> Iterator[Faulty]:
    folder = Path(tempfile.mkdtemp(prefix="mlp-"))
    with pytest.MonkeyPatch.context() as patched:
        place = Faulty(folder)
        patched.setenv("MLPORT_FAULT", f"@{place.switch}")
        try:
            yield place
            place.switch.unlink(missing_ok=True)
            place.close()
        finally:
            shutil.rmtree(folder)


def _marked(pairs: list[tuple[str, str]], fast: set[tuple[str, str]]) -> list[Any]:
    return [pytest.param(*pair, marks=[] if pair in fast else [pytest.mark.faults_full]) for pair in pairs]


@pytest.mark.parametrize(("verb", "point"), _marked(CLIENT, FAST_CLIENT))
def test_a_client_killed_and_run_again_has_done_it_once(faulty: Faulty, verb: str, point: str) -> None:
    """The rerun has the same token, as the submit journal gives it."""
    faulty.prepare(verb)
    token, done = faulty.token(), "delete" if verb == "nothing" else verb
    assert faulty.run(done, token, MLPORT_FAULT=point) == -signal.SIGKILL
    assert faulty.run(done, token) == 0
    faulty.endpoints.reconcile()
    if verb in ("create", "deploy"):  # what the killed one left goes when the keeper next tidies
        process.send(faulty.keeper("e"), signal.SIGKILL)  # type: ignore[arg-type]
    faulty.check(verb)
    assert faulty.store.find(token).state == "SUCCEEDED"  # type: ignore[union-attr]


@pytest.mark.parametrize(("verb", "point"), _marked(KEEPER, FAST_KEEPER))
def test_a_killed_keeper_is_replaced_and_the_mutation_ends(faulty: Faulty, verb: str, point: str) -> None:
    faulty.prepare(verb)
    token = faulty.token()
    if verb == "broken":
        (faulty.model / "model.pkl").rename(faulty.config.root / "kept.pkl")
        try:
            faulty.kill_at(point)
            status = faulty.ended(faulty.endpoints.create(faulty.endpoint("e"), token=token))
        finally:
            (faulty.config.root / "kept.pkl").rename(faulty.model / "model.pkl")
        assert status.state == "FAILED"
        assert "cannot serve" in status.reason
    else:
        faulty.kill_at(point)
        assert faulty.run(verb, token) == 0
        assert faulty.store.find(token).state == "SUCCEEDED"  # type: ignore[union-attr]
    faulty.killed()
    faulty.check(verb)


def test_a_keeper_that_nobody_looks_for_is_started_again_by_the_router(faulty: Faulty) -> None:
    faulty.ready(green=False)
    old, worker = faulty.keeper("e"), faulty.observed("e").workers["blue"]
    assert old is not None
    process.send(old, signal.SIGKILL)
    until(lambda: faulty.keeper("e") not in (None, old))
    process.send(process.Identity.parse(worker.identity or ""), signal.SIGKILL)
    until(lambda: faulty.observed("e").workers["blue"].ready and faulty.observed("e").workers["blue"].identity != worker.identity)


@pytest.mark.parametrize("point", ROUTER)
def test_a_killed_router_loses_no_figure_of_what_was_answered(faulty: Faulty, point: str) -> None:
    """Figures are of whole seconds, so the window begins where one ends, with all that was asked before on the other side."""
    faulty.ready(green=False)
    faulty.endpoints.predict("e", [ROW])
    asked = datetime.now(UTC)
    around = Window(asked - timedelta(minutes=1), asked + timedelta(minutes=10))
    began = until(lambda: until_when if (until_when := faulty.endpoints.observe("e", around).complete_until) > asked else None)
    before = faulty.observed("e").router.identity
    faulty.kill_at(point)
    answered = 0
    while faulty.switch.exists():
        try:
            faulty.endpoints.predict("e", [ROW])
            answered += 1
        except PredictionError:  # it died under this one
            break
    until(lambda: faulty.observed("e").router.identity != before)
    faulty.settled("e")
    for _ in range(5):
        faulty.endpoints.predict("e", [ROW])
        answered += 1
    ended = datetime.now(UTC)
    window = Window(began, ended + timedelta(seconds=5))
    until(lambda: faulty.endpoints.observe("e", window).complete_until > ended)
    seen = faulty.endpoints.observe("e", window)
    assert sum(one.requests - one.errors for one in seen.deployments) == answered  # a router that has just come refuses with 503
    assert seen.complete_from is None


@pytest.mark.parametrize("point", WORKER)
def test_a_killed_worker_loses_nothing_that_it_answered_and_comes_back(faulty: Faulty, point: str) -> None:
    faulty.ready(green=False)
    began = datetime.now(UTC)
    ids = [faulty.endpoints.predict("e", [ROW, ROW]).request_id for _ in range(10)]
    before = faulty.observed("e").workers["blue"].identity
    faulty.kill_at(point)
    with pytest.raises(PredictionError) as broken:
        faulty.endpoints.predict("e", [ROW])
    assert broken.value.status == 502
    until(lambda: faulty.observed("e").workers["blue"].identity not in (before, None))
    faulty.settled("e")
    ids += [faulty.endpoints.predict("e", [ROW, ROW]).request_id for _ in range(10)]
    rows = [
        row
        for batch in faulty.endpoints.captured("e", Window(began, datetime.now(UTC) + timedelta(seconds=1)))
        for row in batch.to_pylist()
    ]
    kept = [(row["provider_id"], row["row"]) for row in rows]
    assert len(kept) == len(set(kept))
    assert {(one, row) for one in ids for row in (0, 1)} <= set(kept)
    assert len(kept) == 40 + (point == "after-capture-write")


@pytest.mark.faults_full
def test_it_all_comes_back_again_and_again_with_longer_pauses(faulty: Faulty) -> None:
    faulty.ready(green=False)
    for _ in range(4):
        old = faulty.observed("e").workers["blue"].identity
        process.send(process.Identity.parse(old or ""), signal.SIGKILL)
        until(lambda old=old: faulty.observed("e").workers["blue"].identity not in (old, None), 60)  # type: ignore[misc]
    faulty.settled("e")
    assert faulty.endpoints.get("e").state is EndpointState.READY
    assert [staff.pause_after(number) for number in (1, 2, 3, 12)] == [0.1, 0.2, 0.4, 30.0]
