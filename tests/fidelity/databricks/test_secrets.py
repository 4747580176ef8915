"""Secret scopes: who may use them, and secrets that reach the programs of runs."""

from __future__ import annotations

import base64

import pytest
from aids.databricks.jobs import CLUSTER, RUNNABLE, ask, ended, output, printed, put, python, submit
from aids.databricks.place import PLAIN_TOKEN, Sdk, call

from mlport.emulation.server import Ready
from mlport_databricks.emulator.accounts import PLAIN

ROOT = "/api/2.0/secrets"


def test_the_sdk_keeps_secrets_and_says_who_may_read_them(sdk: Sdk) -> None:
    program = """
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.errors import ResourceAlreadyExists, ResourceDoesNotExist
        from databricks.sdk.service.workspace import AclPermission

        w = WorkspaceClient()
        w.secrets.create_scope("mine")
        w.secrets.put_secret("mine", "word", string_value="hush")
        w.secrets.put_secret("mine", "bytes", bytes_value="AAE=")
        print([each.key for each in w.secrets.list_secrets("mine")], sorted(each.name for each in w.secrets.list_scopes()))
        print(w.dbutils.secrets.get("mine", "word"), w.dbutils.secrets.getBytes("mine", "bytes"))
        w.secrets.put_acl("mine", "users", AclPermission.READ)
        print([(each.principal, each.permission.value) for each in w.secrets.list_acls("mine")])
        w.secrets.delete_acl("mine", "users")
        for missing in (lambda: w.secrets.delete_secret("mine", "other"), lambda: w.secrets.get_acl("mine", "users")):
            try:
                missing()
            except ResourceDoesNotExist as error:
                print(error)
        try:
            w.secrets.create_scope("mine")
        except ResourceAlreadyExists as error:
            print(error)
        w.secrets.delete_scope("mine")
        print([each.name for each in w.secrets.list_scopes()])
    """
    assert sdk(program).splitlines() == [
        "['bytes', 'word'] ['mine', 'mlport']",
        "hush b'\\x00\\x01'",
        "[('admin@emulated.example', 'MANAGE'), ('users', 'READ')]",
        "Secret does not exist with scope: mine and key: other",
        "ACL for principal users on scope mine does not exist!",
        "Scope mine already exists!",
        "['mlport']",  # it is there from the start
    ]


@pytest.fixture(scope="module")
def scope(emulator: Ready) -> str:
    """A scope with the secret `word`."""
    ask(emulator, "POST", f"{ROOT}/scopes/create", {"scope": "kept"})
    ask(emulator, "POST", f"{ROOT}/put", {"scope": "kept", "key": "word", "string_value": "hush"})
    return "kept"


def test_levels_are_checked(emulator: Ready, scope: str) -> None:
    read, write = f"{ROOT}/get?scope={scope}&key=word", {"scope": scope, "key": "other", "string_value": "x"}

    def statuses() -> list[int]:
        ways = (("GET", read, None), ("POST", f"{ROOT}/put", write), ("GET", f"{ROOT}/acls/list?scope={scope}", None))
        return [call(emulator, *way, token=PLAIN_TOKEN)[0] for way in ways]

    assert statuses() == [403, 403, 403]
    for number, level in enumerate(("READ", "WRITE", "MANAGE"), 1):
        ask(emulator, "POST", f"{ROOT}/acls/put", {"scope": scope, "principal": PLAIN.name, "permission": level})
        assert statuses() == [200] * number + [403] * (3 - number)
    assert base64.b64decode(ask(emulator, "GET", read, token=PLAIN_TOKEN)["value"]) == b"hush"


@RUNNABLE
def test_runs_read_secrets_by_the_clusters_variables_and_by_dbutils(emulator: Ready, scope: str) -> None:
    program = put(emulator, "/Shared/secret.py", "import os; print(os.environ['WORD'], os.environ['PLAIN'])")
    variables = {"WORD": f"{{{{secrets/{scope}/word}}}}", "PLAIN": "as it is"}
    notebook = put(
        emulator,
        "/Shared/secret_notebook.py",
        f"# Databricks notebook source\ndbutils.notebook.exit(dbutils.secrets.get('{scope}', 'word'))",
    )
    run = ended(
        emulator,
        submit(
            emulator,
            python(program, new_cluster={**CLUSTER, "spark_env_vars": variables}),
            {"task_key": "notebook", "notebook_task": {"notebook_path": notebook}, "new_cluster": CLUSTER},
            python(program, key="bad", new_cluster={**CLUSTER, "spark_env_vars": {"WORD": f"{{{{secrets/{scope}/none}}}}"}}),
        ),
    )
    assert printed(emulator, run) == "hush as it is\n"
    assert output(emulator, run["tasks"][1]["run_id"])["notebook_output"]["result"] == "hush"
    assert (
        f"SECRET_RESOLUTION_ERROR (CLIENT_ERROR). Secret does not exist with scope: {scope} and key: none"
        in run["tasks"][2]["state"]["state_message"]
    )
    assert run["tasks"][0]["new_cluster"]["spark_env_vars"]["WORD"] == variables["WORD"]  # what is told of a run has the reference
