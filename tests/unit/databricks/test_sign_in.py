"""The SDK's chain of credentials is the SDK's own, loaded without its services, and stands in nobody's way."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, sys
from mlport_databricks.workspace.sign_in import config_class
HOST = "http://127.0.0.1:1"  # nobody is there: the SDK asks its host what it is, and goes on without an answer
first = config_class()
alone = sorted(name for name in sys.modules if name.startswith("databricks.sdk.service."))
whole_before = "WorkspaceClient" in vars(sys.modules["databricks.sdk"])
signed = first(host=HOST, token="t", retry_timeout_seconds=1).authenticate()
from databricks.sdk import WorkspaceClient
import databricks, databricks.sdk, databricks.sdk.oauth
again = config_class()
client = WorkspaceClient(config=again(host=HOST, token="t", retry_timeout_seconds=1))
print(json.dumps({
    "services": alone, "whole": whole_before, "signed": signed, "same": first is again is databricks.sdk.core.Config,
    "client": type(client.jobs).__module__, "below": databricks.sdk.config.Config is first and databricks.sdk.oauth.Token is not None,
    "kind": type(databricks.sdk).__name__, "none": hasattr(databricks.sdk, "no_such_name"),
}))
"""


def test_no_service_is_loaded_and_the_sdk_is_whole_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told["services"]) <= {"databricks.sdk.service._internal", "databricks.sdk.service.provisioning"}
    assert not told["whole"]
    assert told["signed"] == {"Authorization": "Bearer t"}
    assert (told["same"], told["below"], told["client"]) == (True, True, "databricks.sdk.mixins.jobs")
    assert (told["kind"], told["none"]) == ("module", False)


AT_ONCE = """
import threading
from mlport_databricks.workspace.sign_in import config_class
config_class()
found, barrier = [], threading.Barrier(8)
def want():
    barrier.wait()
    from databricks.sdk import WorkspaceClient
    found.append(WorkspaceClient)
threads = [threading.Thread(target=want) for _ in range(8)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
print(len(found), len(set(found)))
"""


def test_threads_that_want_the_whole_sdk_at_once_all_get_it() -> None:
    done = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["8", "1"]), done.stderr
