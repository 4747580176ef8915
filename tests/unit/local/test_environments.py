"""Environments of jobs: built by the real uv from a wheelhouse that the test makes, so without a network."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from mlport.spi import State
from mlport_local.engine.environments import Setup, install_command, normalised, venv_command

Engine = Any


def wheel(folder: Path, name: str, version: str = "1.0", needs: str = "") -> None:
    """A pure Python wheel with one module that says its version."""
    info = f"{name}-{version}.dist-info"
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, content)


@pytest.fixture
def engine(make_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine that installs from a wheelhouse with `tiny` in it, and nothing else."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    wheel(tmp_path / "wheels", "tiny")
    return make_engine(wheelhouse=tmp_path / "wheels", offline=True)


def setup(**changes: Any) -> Setup:
    return Setup(
        **{
            "requirements": ("tiny",),
            "python": "3.11",
            "base": "/usr/bin/python3",
            "wheelhouse": None,
            "offline": False,
            "uv": "uv",
            **changes,
        }
    )


def test_a_job_gets_its_requirements(engine: Engine) -> None:
    status = engine.run("import tiny, sys; print(tiny.VERSION, sys.prefix)", requirements=["tiny>=1"])
    assert status.state is State.SUCCEEDED, status.reason
    version, prefix = engine.log(status.id)[-1].split()
    resolved = engine.jobs.result(status.id).resolved
    assert version == "1.0"
    assert Path(prefix) == engine.layout.environment(resolved["environment"])
    assert resolved["packages"] == ["tiny==1.0"]
    assert list(Path(prefix).rglob("tiny.cpython-*.pyc"))


def test_two_jobs_share_one_build(engine: Engine) -> None:
    jobs = [engine.submit("import tiny", requirements=[spelling]) for spelling in ("tiny", "Tiny")]
    assert [engine.ended(job).state for job in jobs] == [State.SUCCEEDED] * 2
    built = [job for job in jobs if any("tiny==1.0" in line for line in engine.log(job))]
    assert len(built) == 1


def test_a_requirement_that_cannot_be_had_is_told_with_a_hint(engine: Engine) -> None:
    status = engine.run("pass", requirements=["nowhere-to-be-found>=2"])
    assert (status.state, status.cause) == (State.FAILED, "environment")
    assert "nowhere-to-be-found" in status.reason
    assert "hint: only the profile's wheelhouse is used" in status.reason


def test_a_build_that_was_killed_is_done_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPORT_FAULT", "during-build")
    job_id = engine.submit("import tiny", requirements=["tiny"])
    engine.wait_for(lambda: engine.row(job_id)["native_state"] == "BUILDING_ENVIRONMENT" and not engine.supervisors())
    monkeypatch.delenv("MLPORT_FAULT")
    assert engine.ended(job_id).state is State.SUCCEEDED


def test_the_state_says_that_it_is_building_and_a_cancel_ends_it(engine: Engine, tmp_path: Path) -> None:
    slow = tmp_path / "slow-python"
    slow.write_text("#!/bin/sh\nsleep 600\n")
    slow.chmod(0o755)
    own = engine.config.model_copy(update={"python": str(slow)})
    engine.config = own
    job_id = engine.submit("pass", requirements=["tiny"])
    engine.wait_for(lambda: engine.jobs.status(job_id).native_state == "BUILDING_ENVIRONMENT")
    engine.wait_for(lambda: engine.members(job_id))
    engine.jobs.cancel(job_id)
    assert engine.ended(job_id).state is State.CANCELLED
    assert not engine.members(job_id)


def test_a_wheelhouse_that_is_gone_is_told(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "wheels").rename(tmp_path / "moved")
    assert f"the wheelhouse {tmp_path / 'wheels'} is not a folder" in engine.run("pass", requirements=["tiny"]).reason


def test_the_digest_knows_what_matters(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "tiny")
    house = str(tmp_path / "wheels")
    same = [setup(), setup(requirements=("Tiny",)), setup(requirements=("tiny", " tiny ")), setup(base="/opt/python"), setup(uv="/opt/uv")]
    other = [setup(requirements=("tiny>1",)), setup(python="3.12"), setup(python=None), setup(offline=True), setup(wheelhouse=house)]
    assert len({one.digest for one in same}) == 1
    assert len({one.digest for one in [*same, *other]}) == 1 + len(other)
    before = setup(wheelhouse=house).digest
    wheel(tmp_path / "wheels", "tiny", "2.0")
    assert setup(wheelhouse=house).digest != before


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ("Scikit_Learn >= 1.7", "scikit-learn>=1.7"),
        ("a.b[x, y]~=1", "a-b[x,y]~=1"),
        ("pkg @ https://x/y.whl", "pkg @ https://x/y.whl"),
        ("-e .", "-e ."),
    ],
)
def test_requirements_have_one_spelling(spelled: str, expected: str) -> None:
    assert normalised(spelled) == expected


def test_uv_is_told_what_the_profile_says() -> None:
    offline = setup(offline=True, wheelhouse="/w")
    assert venv_command(offline, Path("/e")) == ["uv", "venv", "--no-project", "--no-config", "--python", "3.11", "--offline", "/e"]
    assert install_command(offline, Path("/e"), Path("/e.txt"))[4:] == [
        "/e",
        "--compile-bytecode",
        "--no-progress",
        "--no-index",
        "--find-links",
        "/w",
        "--offline",
        "-r",
        "/e.txt",
    ]
