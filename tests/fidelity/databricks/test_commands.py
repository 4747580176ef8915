"""Commands on a running cluster: a context keeps its names, tells errors, cancels, and ends with its cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aids.databricks.jobs import CLUSTER, RUNNABLE, ask, put
from aids.databricks.place import PLAIN_TOKEN, Sdk, call
from aids.process import emulating

from mlport.emulation.server import Ready
from mlport.waiting import delays, wait_until

pytestmark = RUNNABLE
ROOT = "/api/1.2"


@pytest.fixture(scope="module")
def cluster(emulator: Ready) -> str:
    """A running one."""
    own: str = ask(emulator, "POST", "/api/2.1/clusters/create", {**CLUSTER, "spark_env_vars": {"GIVEN": "by the cluster"}})["cluster_id"]
    is_running(emulator, own)
    return own


def is_running(ready: Ready, cluster: str) -> None:
    wait_until(
        lambda: ask(ready, "GET", f"/api/2.1/clusters/get?cluster_id={cluster}")["state"],
        lambda state: state == "RUNNING",
        pauses=delays(first=0.02, ceiling=0.2),
        timeout=30,
        what="the cluster",
    )


def context(ready: Ready, cluster: str) -> str:
    own: str = ask(ready, "POST", f"{ROOT}/contexts/create", {"clusterId": cluster, "language": "python"})["id"]
    look = f"{ROOT}/contexts/status?clusterId={cluster}&contextId={own}"
    wait_until(
        lambda: ask(ready, "GET", look)["status"],
        lambda status: status == "Running",
        pauses=delays(first=0.02, ceiling=0.2),
        timeout=30,
        what="the context",
    )
    return own


class Commands:
    """Those of one context."""

    def __init__(self, ready: Ready, cluster: str) -> None:
        self.ready, self.where = ready, {"clusterId": cluster, "contextId": context(ready, cluster)}

    def begin(self, command: str) -> str:
        body = {**self.where, "language": "python", "command": command}
        return str(ask(self.ready, "POST", f"{ROOT}/commands/execute", body)["id"])

    def status(self, number: str) -> Any:
        where = "&".join(f"{name}={value}" for name, value in self.where.items())
        return ask(self.ready, "GET", f"{ROOT}/commands/status?{where}&commandId={number}")

    def until(self, number: str, *states: str) -> Any:
        return wait_until(
            lambda: self.status(number),
            lambda found: found["status"] in states,
            pauses=delays(first=0.02, ceiling=0.2),
            timeout=30,
            what="the command",
        )

    def run(self, command: str) -> Any:
        return self.until(self.begin(command), "Finished", "Error", "Cancelled")["results"]


def test_the_sdk_runs_commands_and_dbutils_on_the_cluster(sdk: Sdk, cluster: str) -> None:
    program = """
        import sys
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.service.compute import Language

        w = WorkspaceClient(cluster_id=sys.argv[1])
        context = w.command_execution.create(cluster_id=sys.argv[1], language=Language.PYTHON).result()
        where = {"cluster_id": sys.argv[1], "context_id": context.id, "language": Language.PYTHON}
        done = w.command_execution.execute(command="print(1)", **where).result()
        print(done.status.value, done.results.result_type.value, done.results.data)
        w.command_execution.destroy(sys.argv[1], context.id)
        print(w.dbutils.library.restartPython())
    """
    assert sdk(program, cluster) == "Finished text 1\n\nNone\n"


def test_a_context_keeps_its_names_and_sees_what_a_run_sees(emulator: Ready, cluster: str) -> None:
    commands = Commands(emulator, cluster)
    put(emulator, "/Shared/seen.txt", "seen")
    assert commands.run("x = 20\nimport os")["data"] == ""
    assert commands.run("print(os.environ['GIVEN'])\nx + 1") == {
        "resultType": "text",
        "data": "by the cluster\nOut[2]: 21\n",
        "truncated": False,
    }
    seen = "open('/Workspace/Shared/seen.txt').read(), os.environ['DATABRICKS_RUNTIME_VERSION'], os.system('echo of another')"
    assert commands.run(seen)["data"] == "of another\nOut[3]: ('seen', '16.4', 0)\n"
    failed = commands.run("def inner(): return 1 / 0\nprint('before')\ninner()")
    assert (failed["resultType"], failed["summary"]) == ("error", "ZeroDivisionError: division by zero")
    assert failed["cause"].startswith("before\nTraceback")
    assert "in inner" in failed["cause"]
    assert "repl.py" not in failed["cause"]
    assert commands.run("raise SystemExit(3)")["summary"] == "SystemExit: 3"
    assert commands.run("1 +")["summary"].startswith("SyntaxError")
    assert commands.run("x")["data"] == "Out[7]: 20\n"
    assert Commands(emulator, cluster).run("x")["summary"] == "NameError: name 'x' is not defined"


def test_a_command_is_cancelled_and_those_behind_it_go_on(emulator: Ready, cluster: str) -> None:
    commands = Commands(emulator, cluster)
    long, waiting, last = commands.begin("import time; time.sleep(600)"), commands.begin("print('never')"), commands.begin("print('last')")
    commands.until(long, "Running")
    assert commands.status(waiting)["status"] == "Queued"
    for number in (waiting, long):
        ask(emulator, "POST", f"{ROOT}/commands/cancel", {**commands.where, "commandId": number})
    assert commands.until(long, "Cancelled")["results"] == {}
    assert commands.until(waiting, "Cancelled")["results"] == {}
    assert commands.until(last, "Finished")["results"]["data"] == "last\n"


def test_a_context_whose_process_ended_says_so_and_one_ends_with_its_cluster(emulator: Ready, cluster: str) -> None:
    commands = Commands(emulator, cluster)
    assert commands.until(commands.begin("import os; os._exit(1)"), "Error")["results"]["summary"] == "The execution context has ended."
    look = f"{ROOT}/contexts/status?" + "&".join(f"{name}={value}" for name, value in commands.where.items())
    assert ask(emulator, "GET", look)["status"] == "Error"
    other = Commands(emulator, cluster)
    ask(emulator, "POST", "/api/2.1/clusters/restart", {"cluster_id": cluster})
    is_running(emulator, cluster)
    look = f"{ROOT}/contexts/status?" + "&".join(f"{name}={value}" for name, value in other.where.items())
    gone = wait_until(
        lambda: call(emulator, "GET", look), lambda said: said[0] == 404, pauses=delays(first=0.02, ceiling=0.2), timeout=30, what="its end"
    )
    assert gone[1] == {"error": "ContextNotFound: context_id not found"}


def test_a_context_outlives_the_emulator(tmp_path: Path) -> None:
    with emulating("databricks", tmp_path / "emulator") as emulated:
        cluster = ask(emulated.ready, "POST", "/api/2.1/clusters/create", CLUSTER)["cluster_id"]
        is_running(emulated.ready, cluster)
        commands = Commands(emulated.ready, cluster)
        commands.run("x = 41")
        behind = commands.begin("import time; time.sleep(1); x += 1")
        emulated.kill()
        emulated.start()
        commands.ready = emulated.ready
        assert commands.until(behind, "Finished")["results"]["data"] == ""
        assert commands.run("x")["data"] == "Out[3]: 42\n"


@pytest.mark.parametrize(
    ("body", "token", "message"),
    [
        ({"clusterId": "{cluster}", "language": "scala"}, "", "in python only"),
        ({"clusterId": "none", "language": "python"}, "", "ClusterNotFoundException"),
        ({"clusterId": "{cluster}", "language": "python"}, PLAIN_TOKEN, "does not have Attach permissions"),
        ({"clusterId": "{cluster}"}, "", "Missing required field: language"),
    ],
)
def test_what_cannot_be_done_is_told(emulator: Ready, cluster: str, body: dict[str, str], token: str, message: str) -> None:
    filled = {name: value.format(cluster=cluster) for name, value in body.items()}
    _, said = call(emulator, "POST", f"{ROOT}/contexts/create", filled, **({"token": token} if token else {}))
    assert message in (said.get("error") or said["message"])
