"""What the machine does to an endpoint: disks, ports, reboots, files damaged, processes that live and do nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlport.spi import EndpointState, Query
from mlport_local.engine import process
from mlport_local.engine.process import Identity
from mlport_local.serving import staff

sys.path.insert(0, str(Path(__file__).parents[1]))
from aids.local.endpoints import ROW, Place, until


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="mlp-"))
    place = Place(folder, silence_seconds=5)
    try:
        place.done(place.endpoints.create(place.endpoint("e"), token="create"))
        yield place
        place.close()
    finally:
        shutil.rmtree(folder)


def kill_all(place: Place) -> None:
    """As a power cut does."""
    folder = place.config.layout.endpoint("e")
    keeper = place.keeper("e")
    for who in [*([keeper] if keeper else []), *staff.marked(folder)]:
        process.send(who, signal.SIGKILL)
    until(lambda: not staff.marked(folder) and place.keeper("e") is None)


def change(place: Place, column: str, edit: Callable[[Any], None]) -> None:
    with sqlite3.connect(place.config.layout.engine) as connection:
        (text,) = connection.execute(f"SELECT {column} FROM endpoints WHERE name = 'e'").fetchone()
        found = json.loads(text)
        edit(found)
        connection.execute(f"UPDATE endpoints SET {column} = ? WHERE name = 'e'", (json.dumps(found),))
    connection.close()


@pytest.mark.parametrize("how", ["full", pytest.param("read-only", marks=pytest.mark.faults_full)])
def test_a_disk_that_is_full_or_read_only_stops_no_answer_and_loses_nothing_written(how: str) -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace of one's own is permitted here")
    root = Path(tempfile.mkdtemp(prefix="mlp-"))
    try:
        program = Path(__file__).with_name("endpoint_disk.py")
        done = subprocess.run(["unshare", "-m", sys.executable, program, root, how], capture_output=True, text=True, timeout=240)
        assert done.stdout.endswith("all is well\n"), done.stderr
    finally:
        shutil.rmtree(root)


@pytest.mark.parametrize(
    "look",
    [
        lambda place, _: place.endpoints.get("e"),
        pytest.param(lambda place, _: place.endpoints.list(Query()), marks=pytest.mark.faults_full),
        pytest.param(lambda place, _: place.endpoints.reconcile(), marks=pytest.mark.faults_full),
    ],
    ids=["get", "list", "reconcile"],
)
def test_after_a_reboot_any_look_brings_everything_back(place: Place, look: Callable[..., Any]) -> None:
    """The boot is another, and the pids that the state names are others' by now."""
    place.settled("e")
    url = place.endpoints.get("e").url
    kill_all(place)
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    seen = process.identify(stranger.pid)
    assert seen is not None

    def reboot(observed: Any) -> None:
        for one in (observed["router"], *observed["workers"].values()):
            one["identity"] = str(Identity(seen.pid, seen.ticks, "the-boot-before"))

    try:
        change(place, "observed", reboot)
        look(place, url)
        place.settled("e")
        assert place.endpoints.get("e").url == url
        assert place.endpoints.predict("e", [ROW]).predictions == [True]
        assert stranger.poll() is None
    finally:
        stranger.communicate(b"\n")


def taken(port: int) -> socket.socket:
    """A server on the port; what was killed may take a moment to let go of it."""
    made: list[socket.socket] = []

    def bound() -> bool:
        with contextlib.suppress(OSError):
            made.append(socket.create_server(("127.0.0.1", port)))
        return bool(made)

    until(bound)
    return made[0]


def test_a_port_that_is_taken_is_said_and_waited_for(place: Place) -> None:
    place.settled("e")
    port = place.store.get("e").desired.port
    kill_all(place)
    with taken(port):
        place.endpoints.reconcile()
        until(lambda: f"cannot listen at 127.0.0.1 port {port}" in place.endpoints.get("e").reason)
        assert place.endpoints.get("e").state is EndpointState.FAILED
    place.settled("e")
    assert place.store.get("e").desired.port == port
    assert place.endpoints.predict("e", [ROW]).predictions == [True]


@pytest.mark.parametrize("who", ["worker", pytest.param("router", marks=pytest.mark.faults_full)])
def test_who_lives_and_does_not_answer_is_started_again(place: Place, who: str) -> None:
    place.settled("e")
    url = place.endpoints.get("e").url

    def identity() -> str | None:
        observed = place.observed("e")
        return observed.router.identity if who == "router" else observed.workers["blue"].identity

    hung = identity()
    assert hung is not None
    os.kill(Identity.parse(hung).pid, signal.SIGSTOP)
    until(lambda: identity() not in (hung, None), 60)
    log = (place.config.layout.endpoint("e") / "logs" / "keeper.log").read_text()
    assert "Traceback" not in log
    place.settled("e")
    assert place.endpoints.get("e").url == url
    assert place.endpoints.predict("e", [ROW]).predictions == [True]
    assert not process.alive(Identity.parse(hung))


@pytest.mark.faults_full
def test_a_router_that_hangs_while_a_deployment_leaves_is_started_again_too(place: Place) -> None:
    place.done(place.endpoints.deploy(place.deployment("e", "leaving"), token=place.token()))
    hung = Identity.parse(place.observed("e").router.identity or "")
    os.kill(hung.pid, signal.SIGSTOP)
    place.done(place.endpoints.undeploy("e", "leaving", token=place.token()))
    assert not process.alive(hung)
    place.settled("e")
    assert place.endpoints.predict("e", [ROW]).predictions == [True]


def test_a_model_that_is_half_there_fails_its_deployment_and_no_other(place: Place) -> None:
    place.done(place.endpoints.deploy(place.deployment("e", "torn"), token=place.token()))
    model = Path(place.store.get("e").desired.deployments["torn"].folder) / "model.pkl"
    os.truncate(model, model.stat().st_size // 2)
    process.send(Identity.parse(place.observed("e").workers["torn"].identity or ""), signal.SIGKILL)
    until(lambda: place.endpoints.get("e").deployments[1].state is EndpointState.FAILED, 60)
    assert place.endpoints.get("e").state is EndpointState.DEGRADED
    assert "torn ended" in place.endpoints.get("e").deployments[1].reason
    assert place.endpoints.predict("e", [ROW]).deployment == "blue"
    place.done(place.endpoints.undeploy("e", "torn", token=place.token()))
    place.settled("e")


def test_what_is_edited_in_the_registry_does_not_reach_what_is_served(place: Place) -> None:
    place.done(place.endpoints.deploy(place.deployment("e", "copy"), token=place.token()))
    copy = Path(place.store.get("e").desired.deployments["copy"].folder)
    there = {path.name: path.stat() for path in copy.iterdir()}
    assert all(status.st_ino != (place.model / name).stat().st_ino for name, status in there.items())
    place.done(place.endpoints.undeploy("e", "copy", token=place.token()))


def test_a_keeper_that_comes_later_gets_the_socket_from_the_router(place: Place) -> None:
    """Keeper and router die one after the other, and a caller that waits in between is answered."""
    place.settled("e")
    old = place.keeper("e")
    assert old is not None
    process.send(old, signal.SIGKILL)
    until(lambda: place.keeper("e") not in (None, old))
    router = Identity.parse(place.observed("e").router.identity or "")
    address = ("127.0.0.1", place.store.get("e").desired.port)
    until(lambda: _listeners(place.keeper("e"), address[1]))
    os.kill(router.pid, signal.SIGSTOP)
    with socket.create_connection(address) as waiting:  # the kernel takes the call
        waiting.settimeout(30)
        waiting.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        process.send(router, signal.SIGKILL)
        assert waiting.recv(100).startswith(b"HTTP/1.1 200")


def _listeners(who: Identity | None, port: int) -> bool:
    """Whether a process holds a socket that listens at the port."""
    wanted = f":{port:04X} 00000000:0000 0A"
    inodes = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if wanted in line}
    held = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended: the next look tells
        for path in Path(f"/proc/{who.pid if who else 0}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                held.add(os.readlink(path))
    return bool({f"socket:[{inode}]" for inode in inodes} & held)
