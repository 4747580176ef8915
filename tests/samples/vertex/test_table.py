"""The table of samples is sound, tells what it does not know, and a sample that fails is seen to fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples.vertex.call import function_of, load
from samples.vertex.run import attempt
from samples.vertex.table import FOLDERS, Sample, absent, compare, runs
from samples.vertex.world import Told, World


def test_each_sample_is_run_or_has_a_reason_once() -> None:
    run, left_out = [sample.path for sample in runs()], absent()
    assert len(run) == len(set(run)) > 60
    assert not set(run) & set(left_out)
    assert all(left_out.values())


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one sample that the table knows, one that it does not, and a sample's own test."""
    for name in FOLDERS:
        (tmp_path / "samples" / name).mkdir(parents=True)
    for name in ("get_model_sample.py", "new_sample.py", "new_sample_test.py"):
        (tmp_path / "samples" / "model-builder" / name).write_text(
            "def new_sample(number):\n    assert number == 1, 'odd'\n    return number\n"
        )
    return tmp_path


def test_new_samples_and_missing_ones_are_told(checkout: Path) -> None:
    unknown, missing = compare(checkout)
    assert unknown == {"model-builder/new_sample.py"}
    assert "model-builder/get_model_sample.py" not in missing
    assert "model-builder/upload_model_sample.py" in missing
    with pytest.raises(SystemExit, match="give a checkout"):
        compare(checkout / "samples")


def test_a_sample_must_work_and_leave_what_it_should(checkout: Path, tmp_path: Path) -> None:
    world = World({"url": "", "env": {}}, tmp_path, "rest")

    def after(world: World, told: Told) -> None:
        assert told.returned == 1
        assert "given" in world.kept, "nothing was given"

    def sample(number: int, refused: str = "") -> Sample:
        return Sample("model-builder/new_sample.py", lambda w: {"number": number}, after, refused)

    assert "nothing was given" in attempt(world, checkout, sample(1))
    world.kept["given"] = True
    assert attempt(world, checkout, sample(1)) == ""
    assert "odd" in attempt(world, checkout, sample(2))
    assert "it works" in attempt(world, checkout, sample(1, refused="odd"))


def test_the_function_of_a_sample(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("from json import dumps\ndef other(): return 1\n")
    assert function_of(load(tmp_path / "one.py"))() == 1
    (tmp_path / "two.py").write_text("def two(): return 2\ndef other(): return 1\n")
    assert function_of(load(tmp_path / "two.py"))() == 2
    (tmp_path / "three.py").write_text("def a(): return 2\ndef b(): return 1\n")
    with pytest.raises(LookupError, match=r"\['a', 'b'\]"):
        function_of(load(tmp_path / "three.py"))
