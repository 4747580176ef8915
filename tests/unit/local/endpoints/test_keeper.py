"""The keeper: what is killed comes back, nothing runs twice, nothing is left."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlport.errors import PredictionError
from mlport.spi import EndpointState
from mlport_local.engine import process
from mlport_local.engine.process import Identity
from mlport_local.serving import staff
from mlport_local.serving.endpoint_state import run_folder, worker_socket

ROW = {"a": 1.0, "b": 0.0}


def identity(text: str | None) -> Identity:
    assert text is not None
    return Identity.parse(text)


def kill(who: Identity | None) -> None:
    assert who is not None
    assert process.send(who, signal.SIGKILL)


def test_a_killed_worker_is_started_again_and_meanwhile_others_answer(live: Any, until: Callable[..., Any]) -> None:
    live.settled("live")
    live.split("live", blue=50, green=50)
    before = live.observed("live").workers["blue"]
    assert {live.endpoints.predict("live", [ROW]).deployment for _ in range(30)} == {"blue", "green"}
    kill(identity(before.identity))
    until(lambda: not process.alive(identity(before.identity)))
    assert Counter(live.endpoints.predict("live", [ROW]).deployment for _ in range(10)) == {"green": 10}
    assert live.endpoints.get("live").state is EndpointState.DEGRADED
    live.settled("live")
    after = live.observed("live").workers["blue"]
    assert after.identity != before.identity
    assert after.restarts == before.restarts + 1
    assert live.endpoints.predict("live", [ROW], deployment="blue").deployment == "blue"
    live.split("live", blue=100, green=0)


def test_a_killed_router_comes_back_on_the_same_port(live: Any, until: Callable[..., Any]) -> None:
    live.settled("live")
    url, before = live.endpoints.get("live").url, live.observed("live").router.identity
    live.endpoints.predict("live", [ROW])
    kill(identity(before))
    until(lambda: live.observed("live").router.identity != before)
    live.settled("live")
    assert live.endpoints.get("live").url == url
    assert live.endpoints.predict("live", [ROW]).predictions == [True]


def test_a_killed_keeper_is_replaced_by_a_look_and_the_new_one_adopts(live: Any, until: Callable[..., Any]) -> None:
    live.settled("live")
    before, old = live.observed("live"), live.keeper("live")
    kill(old)
    until(lambda: not process.alive(old))
    assert live.endpoints.predict("live", [ROW]).predictions == [True]
    with concurrent.futures.ThreadPoolExecutor(4) as lookers:
        list(lookers.map(lambda _: live.endpoints.get("live"), range(20)))
    until(lambda: live.keeper("live"))
    live.split("live", blue=30, green=70)
    live.split("live", blue=100, green=0)
    after = live.observed("live")
    assert after.router.identity == before.router.identity
    assert {name: seen.identity for name, seen in after.workers.items()} == {name: seen.identity for name, seen in before.workers.items()}
    assert len(staff.marked(live.config.layout.endpoint("live"))) == 3


def test_everything_is_brought_back_when_all_of_it_was_killed(live: Any, until: Callable[..., Any]) -> None:
    live.settled("live")
    url, folder = live.endpoints.get("live").url, live.config.layout.endpoint("live")
    kill(live.keeper("live"))
    for who in staff.marked(folder):
        process.send(who, signal.SIGKILL)
    until(lambda: not staff.marked(folder))
    live.endpoints.reconcile()
    live.settled("live")
    assert live.endpoints.get("live").url == url
    assert live.endpoints.predict("live", [ROW]).predictions == [True]


def test_whoever_was_started_unknown_is_ended(live: Any, until: Callable[..., Any]) -> None:
    live.settled("live")
    folder, old = live.config.layout.endpoint("live"), live.keeper("live")
    stray = process.identify(
        process.start_detached(["/bin/sleep", "600"], staff.environment(folder, {}), log=folder / "logs" / "stray.log")
    )
    assert stray is not None
    kill(old)
    until(lambda: not process.alive(stray))
    live.settled("live")


def test_no_request_is_lost_while_deployments_come_and_go(live: Any) -> None:
    live.settled("live")
    stop, failed, answered = threading.Event(), [], Counter[str | None]()

    def call() -> None:
        while not stop.is_set():
            try:
                answered[live.endpoints.predict("live", [ROW]).deployment] += 1
            except PredictionError as error:
                failed.append(error)

    with concurrent.futures.ThreadPoolExecutor(4) as callers:
        for _ in range(4):
            callers.submit(call)
        try:
            live.done(live.endpoints.deploy(live.deployment("live", "canary"), token=live.token()))
            for share in (5, 50, 100, 0):
                live.split("live", blue=100 - share, green=0, canary=share)
            live.done(live.endpoints.undeploy("live", "canary", token=live.token()))
        finally:
            stop.set()
    assert failed == []
    assert answered["canary"] > 0


def test_sockets_find_a_short_place_where_the_root_is_deep(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    assert len(os.fsencode(worker_socket(deep, "n" * 63))) < 100
    assert run_folder(deep) != run_folder(deep / "other")
    assert run_folder(Path("/tmp/a")) == Path("/tmp/a/run")


def test_logs_are_rotated_and_their_last_words_kept(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    for number in range(5):
        staff.rotate(log)
        log.write_text(f"start {number}\nend {number}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["worker.log", "worker.log.1", "worker.log.2"]
    assert (tmp_path / "worker.log.2").read_text() == "start 2\nend 2\n"
    assert staff.last_words(log) == "start 4\nend 4"


def test_a_keeper_whose_root_is_removed_ends_with_all_that_it_started(place: Any, tmp_path: Path, until: Callable[..., Any]) -> None:
    other = type(place)(tmp_path / "r")
    other.done(other.endpoints.create(other.endpoint("gone", auth="none"), token="gone"))
    who = [other.keeper("gone"), *staff.marked(other.config.layout.endpoint("gone"))]
    for role in (other.endpoints, other.operations, other.store):
        role.close()
    (tmp_path / "r").rename(tmp_path / "gone")
    until(lambda: not any(process.alive(each) for each in who))
