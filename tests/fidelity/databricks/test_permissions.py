"""Permissions of jobs, clusters and files: told by the SDK, and really checked."""

from __future__ import annotations

from typing import Any

import pytest
from aids.databricks.jobs import CLUSTER, ask, put, python
from aids.databricks.place import PLAIN_TOKEN, Sdk, call, error

from mlport.emulation.server import Ready
from mlport_databricks.emulator.accounts import PLAIN

ROOT = "/api/2.0/permissions"


def of_plain(level: str) -> dict[str, Any]:
    return {"access_control_list": [{"user_name": PLAIN.name, "permission_level": level}]}


def test_the_sdk_sets_and_reads_permissions_of_a_notebook_and_a_job(sdk: Sdk) -> None:
    program = """
        import io
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.service import iam, jobs
        from databricks.sdk.service.workspace import ImportFormat, Language

        def shown(found):
            return [(each.user_name or each.group_name, [(one.permission_level.value, one.inherited) for one in each.all_permissions])
                    for each in found.access_control_list]

        w = WorkspaceClient()
        me = w.current_user.me().user_name
        path = f"/Users/{me}/shown"
        w.workspace.upload(path, io.BytesIO(b"print(1)"), format=ImportFormat.SOURCE, language=Language.PYTHON)
        number = str(w.workspace.get_status(path).object_id)
        w.groups.create(display_name="runners")
        acl = [iam.AccessControlRequest(group_name="runners", permission_level=iam.PermissionLevel.CAN_RUN)]
        found = w.permissions.set("notebooks", number, access_control_list=acl)
        print(found.object_type, found.object_id == f"/notebooks/{number}", shown(found))
        print([each.permission_level.value for each in w.permissions.get_permission_levels("notebooks", number).permission_levels])
        job = w.jobs.create(name="j", access_control_list=[
            jobs.JobAccessControlRequest(user_name="plain@emulated.example", permission_level=jobs.JobPermissionLevel.CAN_VIEW)])
        print(shown(w.permissions.get("jobs", str(job.job_id))))
        print(shown(w.jobs.get_permissions(str(job.job_id))) == shown(w.permissions.get("jobs", str(job.job_id))))
    """
    assert sdk(program).splitlines() == [
        "notebook True [('runners', [('CAN_RUN', False)]), ('admin@emulated.example', [('CAN_MANAGE', True)]), ('admins', [('CAN_MANAGE', True)])]",
        "['CAN_READ', 'CAN_RUN', 'CAN_EDIT', 'CAN_MANAGE']",
        "[('admin@emulated.example', [('IS_OWNER', False)]), ('plain@emulated.example', [('CAN_VIEW', False)]), ('admins', [('CAN_MANAGE', True)])]",
        "True",
    ]


def test_a_job_is_seen_run_and_changed_as_its_permissions_say(emulator: Ready) -> None:
    job_id = ask(emulator, "POST", "/api/2.2/jobs/create", {"name": "shared"})["job_id"]
    ways = {
        "CAN_VIEW": ("GET", f"/api/2.2/jobs/get?job_id={job_id}", None),
        "CAN_MANAGE_RUN": ("POST", "/api/2.2/jobs/run-now", {"job_id": job_id}),
        "CAN_MANAGE": ("POST", "/api/2.2/jobs/update", {"job_id": job_id, "new_settings": {"name": "changed"}}),
    }
    assert [call(emulator, *way, token=PLAIN_TOKEN)[0] for way in ways.values()] == [403, 403, 403]
    for number, level in enumerate(ways, 1):
        ask(emulator, "PATCH", f"{ROOT}/jobs/{job_id}", of_plain(level))
        assert [call(emulator, *way, token=PLAIN_TOKEN)[0] for way in ways.values()] == [200] * number + [403] * (3 - number)
    status, said = call(emulator, "PUT", f"{ROOT}/jobs/{job_id}", of_plain("CAN_VIEW"))
    assert (status, error(said)) == (400, ("INVALID_PARAMETER_VALUE", "The job must have exactly one owner."))


def test_a_cluster_and_a_folder_are_opened_to_who_was_given_them(emulator: Ready) -> None:
    cluster = ask(emulator, "POST", "/api/2.1/clusters/create", CLUSTER)["cluster_id"]
    put(emulator, "/Users/admin@emulated.example/theirs/a.py", "1")
    folder = ask(emulator, "GET", "/api/2.0/workspace/get-status?path=/Users/admin@emulated.example/theirs")["object_id"]
    ways = {
        f"{ROOT}/clusters/{cluster}": (f"/api/2.1/clusters/get?cluster_id={cluster}", "CAN_ATTACH_TO"),
        f"{ROOT}/directories/{folder}": ("/api/2.0/workspace/export?path=/Users/admin@emulated.example/theirs/a.py", "CAN_READ"),
    }
    for path, (way, level) in ways.items():
        assert call(emulator, "GET", way, token=PLAIN_TOKEN)[0] == 403
        ask(emulator, "PATCH", path, of_plain(level))
        assert call(emulator, "GET", way, token=PLAIN_TOKEN)[0] == 200
        assert call(emulator, "GET", path, token=PLAIN_TOKEN)[0] == 403  # who does not manage it is not told who may what
    assert call(emulator, "POST", "/api/2.1/clusters/permanent-delete", {"cluster_id": cluster}, token=PLAIN_TOKEN)[0] == 403


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("jobs/1", of_plain("CAN_VIEW"), "Job 1 does not exist."),
        ("notebooks/1", of_plain("CAN_READ"), "Notebook 1 does not exist."),
        ("spaceships/1", of_plain("CAN_READ"), "request_object_type is not recognized: spaceships"),
        ("pipelines/1", of_plain("CAN_VIEW"), "The emulator has no"),
        ("{job}", of_plain("CAN_ATTACH_TO"), "'CAN_ATTACH_TO' is not one of CAN_MANAGE"),
        ("notebooks/{notebook}", of_plain("CAN_VIEW"), "CAN_VIEW is no permission level of a notebook"),
        ("{job}", {"access_control_list": [{"group_name": "nobodies", "permission_level": "CAN_VIEW"}]}, "Principal: GroupName(nobodies)"),
        ("{job}", {"access_control_list": [{"permission_level": "CAN_VIEW"}]}, "must name one user"),
    ],
)
def test_what_cannot_be_set_is_told(emulator: Ready, path: str, body: dict[str, Any], message: str) -> None:
    job = ask(emulator, "POST", "/api/2.2/jobs/create", {"name": "j", "tasks": [python("/a.py")]})["job_id"]
    put(emulator, "/Shared/of_nobody.py", "# Databricks notebook source\n1")
    notebook = ask(emulator, "GET", "/api/2.0/workspace/get-status?path=/Shared/of_nobody")["object_id"]
    status, said = call(emulator, "PATCH", f"{ROOT}/{path.format(job=f'jobs/{job}', notebook=notebook)}", body)
    assert status >= 400
    assert message in said["message"]
