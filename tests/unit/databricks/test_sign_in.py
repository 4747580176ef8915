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
whole_before = "databricks.sdk" in sys.modules
signed = first(host=HOST, token="t", retry_timeout_seconds=1).authenticate()
from databricks.sdk import WorkspaceClient
import databricks.sdk
again = config_class()
client = WorkspaceClient(config=again(host=HOST, token="t", retry_timeout_seconds=1))
print(json.dumps({
    "services": alone, "whole": whole_before, "signed": signed, "same": first is again is databricks.sdk.core.Config,
    "client": type(client.jobs).__module__, "listed": "databricks.sdk" in sys.modules,
}))
"""


def test_no_service_is_loaded_and_the_sdk_is_whole_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told["services"]) <= {"databricks.sdk.service._internal", "databricks.sdk.service.provisioning"}
    assert not told["whole"]
    assert told["signed"] == {"Authorization": "Bearer t"}
    assert (told["same"], told["listed"], told["client"]) == (True, True, "databricks.sdk.mixins.jobs")
