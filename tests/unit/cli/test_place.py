"""init, doctor, explain, providers, ls, cleanup, completion."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

FILE = '[profiles.here]\nprovider = "tiny"\nworld = "{0}"\n[profiles.there]\nprovider = "tiny"\nworld = "{0}-there"\n'


@pytest.fixture
def world(home):
    from tiny_provider import WORLDS, World

    return WORLDS.setdefault(home.name, World())


def test_init_writes_a_file_that_works_and_says_so_when_it_is_there(mlport, home, monkeypatch):
    monkeypatch.delenv("MLPORT_PROFILE")
    assert mlport("init").status == 0
    written = (home / "mlport.toml").read_text()
    assert tomllib.loads(written) == {"default": "laptop", "profiles": {"laptop": {"provider": "local"}}}
    again = mlport("init", "--json")
    assert (again.status, again.json["error"]) == (2, "ConflictError")
    assert "--force" in again.err
    (home / "mlport.toml").write_text("old")
    assert mlport("init", "--force").status == 0
    assert (home / "mlport.toml").read_text() == written


def test_what_init_comments_out_is_valid_when_it_is_not(mlport, home):
    from mlport.config import read_file
    from mlport_local.config import LocalConfig

    mlport("init")
    text = (home / "mlport.toml").read_text().partition("# Each further place")[0]
    (home / "mlport.toml").write_text(re.sub(r"^# (\w+ = .*|\[.*\])$", r"\1", text, flags=re.MULTILINE))
    profiles = read_file(home / "mlport.toml").profiles
    table = {name: value for name, value in profiles["laptop"].items() if name != "provider"}
    LocalConfig.load(table, where="laptop")
    assert profiles["tiny"]["provider"] == "tiny"


def test_doctor_is_well_and_names_what_is_not(mlport, home):
    ran = mlport("doctor", "--json")
    assert ran.status == 0
    assert {finding["check"] for finding in ran.json} >= {"mlport", "configuration", "provider tiny", "provider local", "profile", "memory"}
    (home / "mlport.toml").write_text("[profiles")
    ran = mlport("doctor")
    assert ran.status == 1
    assert "FAILED" in ran.out
    assert "mlport.toml" in ran.out


def test_doctor_names_an_unknown_profile(mlport):
    ran = mlport("doctor", "-p", "nowhere", "--json")
    assert ran.status == 1
    assert ran.json[-1]["check"] == "profile"


def test_explain(mlport, home):
    (home / "job.toml").write_text('name = "a"\nentrypoint = ["true"]\nretries = 1\n')
    text = mlport("explain", "job.toml").out
    assert "job.retry  native: in memory" in text
    assert "price  unknown" in text
    (gap,) = mlport("explain", "job.toml", "--json").json["price"]["components"]
    assert (gap["price"], gap["unknown"]) == (None, "no prices of 'tiny' are known")
    ran = mlport("explain", "job.toml", "--set", "compute.gpus=1", "--set", "compute.spot=true")
    assert ran.status == 2
    assert "job.gpu    REFUSED (absent): no GPU fits in memory" in ran.out
    assert "job.spot   REFUSED (absent): there is no market" in ran.out


def test_the_matrix(mlport):
    from mlport.capabilities import Capability

    rows = mlport("providers", "local", "tiny", "--json").json
    assert [row["capability"] for row in rows] == [capability.value for capability in Capability]
    assert rows[0]["providers"].keys() == {"local", "tiny"}
    markdown = mlport("providers", "local", "tiny", "--markdown").out.splitlines()
    assert markdown[0] == "| you can | local | tiny |"
    assert markdown[-1] == "| *last verified on a live account* | needs none | never |"
    assert "no GPU fits in memory" in mlport("providers", "tiny", "--details").out
    assert "did you mean 'tiny'" in mlport("providers", "tini").err


def test_ls_finds_only_what_mlport_made(mlport, world, model):
    mlport("jobs", "run", "--name", "a", "--ttl", "1h", "--wait", "true")
    mlport("models", "register", "m", "--job", "a-1")
    mlport("endpoints", "create", "e", "m:1")
    world.jobs["alien"] = replace(world.jobs["a-1"], id="alien", labels={})
    found = mlport("ls", "--json").json
    assert [(thing["kind"], thing["id"]) for thing in found] == [("job", "a-1"), ("endpoint", "e"), ("model", "m")]
    assert found[0]["owner"] == "ada"
    assert found[0]["expires"]


def test_ls_over_all_profiles_names_those_it_cannot_reach(mlport, home):
    (home / "mlport.toml").write_text(FILE.format(home.name))
    mlport("jobs", "run", "--name", "a", "true", "-p", "here")
    mlport("-p", "there", "jobs", "run", "--name", "b", "true")
    ran = mlport("ls", "--all", "--json")
    assert [(thing["profile"], thing["id"]) for thing in ran.json if thing["id"] != "a"] or ran.status == 0
    with (home / "mlport.toml").open("a") as file:
        file.write('[profiles.broken]\nprovider = "tiny"\ndown = true\n')
    ran = mlport("ls", "--all", "--json")
    assert ran.status == 1
    assert ran.json[-1] == {"profile": "broken", "kind": "unreachable", "error": "tiny://default does not answer"}
    assert "broken cannot be reached" in ran.err


def test_cleanup_removes_what_is_expired_and_ended_and_nothing_else(mlport, world, model):
    past = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y%m%dt%H%M%Sz")
    for name, more in (("old", []), ("new", ["--ttl", "1h"]), ("busy", ["--param", "forever=1"])):
        mlport("jobs", "run", "--name", name, *more, *([] if name == "busy" else ["--wait"]), "true")
    mlport("models", "register", "m", "--job", "old-1")
    mlport("endpoints", "create", "e", "m:1")
    for name in ("old-1", "busy-3"):
        world.jobs[name] = replace(world.jobs[name], labels={**world.jobs[name].labels, "mlport_expires": past})
    world.jobs["alien"] = replace(world.jobs["old-1"], id="alien", labels={"mlport_expires": past})
    world.endpoints["e"] = replace(world.endpoints["e"], labels={**world.endpoints["e"].labels, "mlport_expires": past})

    listed = mlport("cleanup", "--dry-run", "--json")
    assert [(thing["kind"], thing["id"], thing["removed"]) for thing in listed.json] == [("job", "old-1", False), ("endpoint", "e", False)]
    assert mlport("cleanup").status == 2, "nobody to ask"
    assert mlport("cleanup", "--expired", "--yes", "--json").json[0]["removed"] is True
    assert (set(world.jobs), world.endpoints, list(world.versions)) == ({"new-2", "busy-3", "alien"}, {}, [("m", "1")])
    assert mlport("cleanup", "--yes").err == "nothing is past its time\n"


def test_cleanup_by_age_leaves_what_others_own(mlport, world):
    for name in ("mine", "theirs"):
        mlport("jobs", "run", "--name", name, "--wait", "true")
    labels = {**world.jobs["theirs-2"].labels, "mlport_owner": "bob"}
    world.jobs["theirs-2"] = replace(world.jobs["theirs-2"], labels=labels)
    assert mlport("cleanup", "--older-than", "9999d", "--json").json == []
    assert [thing["id"] for thing in mlport("cleanup", "--older-than", "1m", "--endpoints", "--json").json] == []
    mlport("cleanup", "--older-than", "1m", "--yes")
    assert set(world.jobs) == {"theirs-2"}
    mlport("cleanup", "--older-than", "1m", "--yes", "--all-owners")
    assert not world.jobs


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(mlport, shell):
    assert "_MLPORT_COMPLETE" in mlport("completion", shell).out


def test_commands_and_profiles_complete(process, environment, home):
    (home / "mlport.toml").write_text(FILE.format(home.name))
    environment |= {"_MLPORT_COMPLETE": "bash_complete", "COMP_CWORD": "2", "COMP_WORDS": "mlport jobs sub"}
    assert process().out == "plain,submit\n"
    environment |= {"COMP_WORDS": "mlport -p th"}
    assert process().out == "plain,there\n"
