"""The suite against providers that have one bug each: the test that is meant for a bug fails, and says so.

That the sound sample passes the same tests is what test_suite.py shows, and here a sound release made like the faulty ones.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from conformance.suite_run import SUITE, run_suite
from mlport_sample import files
from mlport_sample_planted.release import PlantedProvider, install
from mlport_sample_planted.table import BUGS, Bug

from mlport import registry
from mlport.capabilities import Capability
from mlport.testing.waiting import eventually

SUMMARY = re.compile(r"^(FAILED|ERROR) (?:\S*/)?(test_\w+\.py::.+?)(?: - (.*))?$", re.MULTILINE)
LONG = {  # each trains and serves: 10 s
    "AnswersFromCache",
    "EtagIgnored",
    "NewDeploymentServes",
    "DeployingAgainConflicts",
    "MixesRows",
    "CountsDouble",
    "AnyPrefixOpens",
    "SplitSumsTo90",
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a run; what a faulty provider did not end is ended."""
    yield tmp_path
    left = [group.parent for group in tmp_path.rglob("group") if files.alive(group.parent)]
    for place in left:
        files.signal_group(place, signal.SIGTERM)  # not SIGKILL: a runner has a program to end, which is in a group of its own
    eventually(lambda: any(map(files.alive, left)), lambda alive: not alive, 30)


def run_planted(folder: Path, name: str, tests: str = SUITE) -> tuple[int, str]:
    """The exit status and the output of the suite against a planted release, by its name."""
    install(folder / "release", name)
    path = os.pathsep.join(filter(None, [str(folder / "release"), os.environ.get("PYTHONPATH")]))
    seconds = BUGS[name].seconds if name in BUGS else 60
    return run_suite(folder / "run", "--profile=sample", f"--job-seconds={seconds}", tests=tests, env={"PYTHONPATH": path})


def ended(output: str, how: str) -> Mapping[str, str]:
    """What ended so, FAILED or ERROR, and the first line of why, by `file::test`."""
    return {test: why for found, test, why in SUMMARY.findall(output) if found == how}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.faults_full] if name in LONG else []) for name in BUGS])
def test_the_intended_test_fails_and_says_why(name: str, folder: Path) -> None:
    bug = BUGS[name]
    status, output = run_planted(folder, name, f"{SUITE}.{bug.test.replace('.py', '')}")
    failed = ended(output, "FAILED")
    assert (status, list(failed), ended(output, "ERROR")) == (pytest.ExitCode.TESTS_FAILED, [bug.test], {}), output
    assert re.search(bug.says, failed[bug.test]), f"it must say {bug.says!r}, but says {failed[bug.test]!r}\n{output}"


@pytest.mark.faults_full
@pytest.mark.parametrize("name", BUGS)
def test_the_whole_suite_fails_by_the_intended_test_too(name: str, folder: Path) -> None:
    _, output = run_planted(folder, name)
    assert BUGS[name].test in ended(output, "FAILED"), output


@pytest.mark.faults_full
def test_the_whole_suite_lets_a_sound_release_pass(folder: Path) -> None:
    status, output = run_planted(folder, "SOUND")
    assert status == pytest.ExitCode.OK, output


def test_each_intended_test_is_one_that_the_sound_sample_runs(tmp_path: Path) -> None:
    _, output = run_suite(tmp_path / "run", "--profile=sample", "--collect-only")
    there = {line.rpartition("/")[2] for line in output.splitlines() if "::" in line}
    assert {bug.test for bug in BUGS.values()} <= there


def test_the_bugs_are_of_many_capabilities_and_of_what_the_sample_does() -> None:
    supports = registry.load("sample").supports(registry.load("sample").config.from_url("sample:///nowhere"))
    native = {bug.capability for bug in BUGS.values() if bug.capability and supports[bug.capability].available}
    assert native >= {Capability.JOB_RUN, Capability.JOB_LOGS, Capability.MODEL_REGISTER, Capability.ENDPOINT_SERVE}
    assert {bug.capability for bug in BUGS.values() if bug.capability} - native == {Capability.JOB_SPOT, Capability.MODEL_APPROVAL}


def test_users_see_no_planted_bug() -> None:
    assert not isinstance(registry.load("sample"), PlantedProvider)
    assert not [name for name in registry.names() if "planted" in name or name in BUGS]


def test_a_part_that_is_no_role_is_refused(tmp_path: Path) -> None:
    config = registry.load("sample").config.from_url(f"sample://{tmp_path}")
    with pytest.raises(TypeError, match="Bug is no role"):
        PlantedProvider(Bug).open(config)
