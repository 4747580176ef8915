"""Who calls: tokens, OAuth, two workspaces, and what one who may not is told."""

from __future__ import annotations

import pytest
from aids.databricks.place import PLAIN_TOKEN, Sdk, call, error

from mlport.emulation.server import Ready
from mlport_databricks.emulator.accounts import OTHER_HOST, PRINCIPAL, token_of

ME = "/api/2.0/preview/scim/v2/Me"


PROGRAM = """
    import io, os, sys
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.errors import PermissionDenied
    from databricks.sdk.service.workspace import ImportFormat
    name, secret, other, token = sys.argv[1:]
    mine, theirs = WorkspaceClient(), WorkspaceClient(host=other, token=token)
    print(mine.current_user.me().user_name)
    mine.workspace.upload("/Shared/mine", io.BytesIO(b"x"), format=ImportFormat.AUTO)
    print([each.path for each in mine.workspace.list("/Shared")], [each.path for each in theirs.workspace.list("/Shared")])
    try:
        WorkspaceClient(host=other).current_user.me()
    except PermissionDenied as error:
        print(str(error).partition(" Config")[0])
    del os.environ["DATABRICKS_TOKEN"]
    w = WorkspaceClient(client_id=name, client_secret=secret)
    print(w.current_user.me().user_name, w.get_workspace_id(), w.config.auth_type)
"""


@pytest.fixture(scope="module")
def told(sdk: Sdk) -> list[str]:
    """What a program of the SDK saw: who it is, both workspaces' files, a refusal, and who it is as a service principal."""
    return sdk(PROGRAM, PRINCIPAL.name, PRINCIPAL.secret, f"https://{OTHER_HOST}", token_of(OTHER_HOST)).splitlines()


def test_the_sdk_signs_in_by_token_and_as_a_service_principal(told: list[str]) -> None:
    assert told[0] == "admin@emulated.example"
    assert told[3] == f"{PRINCIPAL.name} 4242424242424240 oauth-m2m"


def test_a_token_of_one_workspace_opens_no_other_and_they_see_nothing_of_each_other(told: list[str]) -> None:
    assert told[1:3] == ["['/Shared/mine'] []", "Invalid access token."]


@pytest.mark.parametrize(
    ("token", "status", "code", "message"),
    [
        ("", 401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type for this API."),
        ("dapi-wrong", 403, "PERMISSION_DENIED", "Invalid access token."),
        ("oauth-emulated-0-7000000000000003-1", 401, "UNAUTHENTICATED", "Token is expired"),
    ],
)
def test_a_token_that_is_not_one_is_refused(emulator: Ready, token: str, status: int, code: str, message: str) -> None:
    answered, said = call(emulator, "GET", ME, token=token)
    assert (answered, error(said)) == (status, (code, message))


def test_a_token_that_a_user_made_is_theirs_until_it_is_deleted(emulator: Ready) -> None:
    _, made = call(emulator, "POST", "/api/2.0/token/create", {"comment": "mine", "lifetime_seconds": 600}, token=PLAIN_TOKEN)
    _, who = call(emulator, "GET", ME, token=made["token_value"])
    assert who["userName"] == "plain@emulated.example"
    _, listed = call(emulator, "GET", "/api/2.0/token/list", token=PLAIN_TOKEN)
    assert [each["comment"] for each in listed["token_infos"]] == ["mine"]
    gone = {"token_id": made["token_info"]["token_id"]}
    assert call(emulator, "POST", "/api/2.0/token/delete", gone, token=PLAIN_TOKEN)[0] == 200
    assert call(emulator, "GET", ME, token=made["token_value"])[0] == 403
    assert call(emulator, "POST", "/api/2.0/token/delete", gone, token=PLAIN_TOKEN)[0] == 404
