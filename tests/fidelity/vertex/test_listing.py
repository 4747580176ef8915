"""Lists of the emulator's resources: filters, pages that hold still, masks and lag; and the servers of tokens."""

from __future__ import annotations

from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from aids.vertex.jobs import PARENT, create, ended, job, pool, printed, ran
from aids.vertex.place import call, errors, set_faults

from mlport.emulation.server import Ready


def listed(ready: Ready, **query: object) -> dict:
    status, found = call(ready, "GET", f"{PARENT}/customJobs?{urlencode(query)}")
    assert status == 200, found
    return found


def names(found: dict) -> list[str]:
    return [each["displayName"] for each in found.get("customJobs", ())]


@pytest.fixture(scope="module")
def three(emulator: Ready) -> list[dict]:
    """Jobs a, b and c; c failed."""
    bodies = [("pass", "a", {"team": "x"}), ("pass", "b", {"team": "y", "env": ""}), ("raise SystemExit(1)", "c", {})]
    made = [create(emulator, job(pool(program), name=name, labels=labels)) for program, name, labels in bodies]
    return [ended(emulator, each["name"]) for each in made]


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ("", "cba"),
        ('display_name="a"', "a"),
        ('display_name!="a"', "cb"),
        ('display_name:"*"', "cba"),
        ('state="JOB_STATE_FAILED" OR display_name=a', "ca"),
        ('NOT state="JOB_STATE_FAILED" AND display_name!="a"', "b"),
        ("labels.team=x", "a"),
        ("labels.team:*", "ba"),
        ("labels:env", "b"),
        ('create_time>"2020-05-18T00:00:00Z" (display_name="a" OR display_name="b")', "ba"),
        ('create_time<="2020-05-18T00:00:00Z"', ""),
    ],
)
def test_filters(emulator: Ready, three: list[dict], filter: str, found: str) -> None:
    assert names(listed(emulator, filter=filter)) == list(found)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"filter": "replicas=1"}, "unknown field replicas"),
        ({"filter": 'display_name="a'}, "syntax error"),
        ({"filter": "create_time>yesterday"}, "not in RFC 3339 format"),
        ({"pageToken": "abc"}, "Invalid page token."),
        ({"pageSize": -1}, "page_size"),
        ({"orderBy": "display_name"}, 'Unknown name "orderBy"'),
    ],
)
def test_what_is_wrong_is_refused(emulator: Ready, three: list[dict], query: dict, said: str) -> None:
    status, error = call(emulator, "GET", f"{PARENT}/customJobs?{urlencode(query)}")
    assert (status, error["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert said in errors(error)


def test_pages_hold_still_while_resources_are_made(emulator: Ready, three: list[dict]) -> None:
    wanted = 'display_name="a" OR display_name="b" OR display_name="c"'
    first = listed(emulator, pageSize=2, filter=wanted)
    ran(emulator, pool("pass"))
    second = listed(emulator, pageSize=2, filter=wanted, pageToken=first["nextPageToken"])
    assert names(first) + names(second) == ["c", "b", "a"]
    assert "nextPageToken" not in second
    status, _ = call(emulator, "GET", f"{PARENT}/customJobs?{urlencode({'pageToken': first['nextPageToken']})}")
    assert status == 400  # the token is another question's


def test_a_mask_picks_fields(emulator: Ready, three: list[dict]) -> None:
    found = listed(emulator, readMask="name,display_name", filter='display_name="a"')
    assert found["customJobs"] == [{"name": three[0]["name"], "displayName": "a"}]


def test_projects_are_apart_and_known_by_id_and_number(emulator: Ready, three: list[dict]) -> None:
    for project, count in (("424242424242", 1), ("emulated", 1), ("another", 0)):
        _, found = call(emulator, "GET", f"/v1/projects/{project}/locations/us-central1/customJobs?filter=display_name%3Da")
        assert len(found.get("customJobs", ())) == count


def test_lists_lag(emulator: Ready, three: list[dict]) -> None:
    set_faults(emulator, {"match": "GET */customJobs", "effect": "lag", "seconds": 3600, "times": 1})
    assert listed(emulator) == {}
    assert call(emulator, "GET", f"/v1/{three[0]['name']}")[0] == 200
    assert "a" in names(listed(emulator))


# ---------------------------------------------------------------- tokens

FLAVOR = {"Metadata-Flavor": "Google"}


def test_the_metadata_server_gives_a_token_to_google_auth_inside_a_job(emulator: Ready) -> None:
    program = """
import os
for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"): os.environ.pop(name)
import google.auth, google.auth.transport.requests as transport
credentials, project = google.auth.default()
credentials.refresh(transport.Request())
print(type(credentials).__module__, project, credentials.service_account_email, credentials.valid)
"""
    said = printed(emulator, ran(emulator, pool(program))["name"])
    assert said == ["google.auth.compute_engine.credentials emulated emulated@emulated.iam.gserviceaccount.com True"]


def test_the_metadata_server_wants_its_header(emulator: Ready) -> None:
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    status, token = call(emulator, "GET", path, headers=FLAVOR)
    assert (status, token["token_type"]) == (200, "Bearer")
    with pytest.raises(HTTPError) as refused:
        urlopen(emulator.urls["vertex"] + path)
    assert (refused.value.code, refused.value.headers["Metadata-Flavor"]) == (403, "Google")
    refused.value.close()


def test_impersonation(emulator: Ready) -> None:
    path = "/v1/projects/-/serviceAccounts/a@b.iam.gserviceaccount.com:generateAccessToken"
    status, found = call(emulator, "POST", path, {"scope": ["https://www.googleapis.com/auth/cloud-platform"]})
    assert (status, set(found)) == (200, {"accessToken", "expireTime"})
    assert call(emulator, "POST", path, {})[0] == 400
