"""The table of examples is sound, and tells what it does not know; an example that does not do as it says is seen."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest
from samples.databricks.run import attempts, run, wrong
from samples.databricks.table import Entry, compare, entry_of, table


def test_each_entry_is_run_refused_with_words_or_has_a_reason_once() -> None:
    patterns = [entry.pattern for entry in table()]
    assert len(patterns) == len(set(patterns)) > 60
    for entry in table():
        assert not (entry.reason and entry.refused), entry
        assert bool(entry.refused) == bool(entry.why), entry
        assert entry.refused or not entry.sometimes, entry
    for entry in table():
        if entry.reason and "*" not in entry.pattern:  # nothing that is run hides behind what is not
            assert not [other for other in table() if other.refused and fnmatch(entry.pattern, other.pattern)], entry


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with an example that the table runs, one that it does not run, and one that it does not know."""
    for path in ("workspace/jobs/run_now_jobs_api_full_integration.py", "account/budgets/get_budgets.py", "workspace/new/new.py"):
        file = tmp_path / "examples" / path
        file.parent.mkdir(parents=True)
        file.write_text("import sys\nsys.exit(sys.stdin.readline() and sys.argv[1:] or 0)\n")
    return tmp_path


def test_new_examples_and_missing_ones_are_told(checkout: Path) -> None:
    unknown, unused = compare(checkout)
    assert unknown == ["workspace/new/new.py"]
    assert "account/*" not in unused
    assert "workspace/clusters/*" in unused
    with pytest.raises(SystemExit, match="give a checkout"):
        compare(checkout / "examples")


def test_an_example_must_do_as_the_table_has_it(tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    entries = {
        "run": Entry("e"),
        "refused": Entry("e", refused="no * here", why="it cannot"),
        "sometimes": Entry("e", refused="no * here", why="it may not", sometimes=True),
    }

    def told(text: str) -> dict[str, bool]:
        file.write_text(text)
        ended = run([str(file)], {})
        return {name: not wrong(entry, *ended) for name, entry in entries.items()}

    assert told("print('well')") == {"run": True, "refused": False, "sometimes": True}
    assert told("raise ValueError('no room here')") == {"run": False, "refused": True, "sometimes": True}
    assert told("raise ValueError('something else')") == {"run": False, "refused": False, "sometimes": False}
    assert told("print('no room here')") == {"run": True, "refused": False, "sometimes": True}
    assert "something else" in wrong(entries["refused"], 1, "something else")


def test_an_example_is_told_the_host_and_the_token(tmp_path: Path) -> None:
    file = tmp_path / "asks.py"
    file.write_text("print(input(), input())")
    assert run([str(file)], {"DATABRICKS_HOST": "https://h", "DATABRICKS_TOKEN": "t"}) == (0, "https://h t\n")


def test_failures_are_counted(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = "workspace/jobs/run_now_jobs_api_full_integration.py"
    entry = entry_of(path)
    assert entry is not None
    failed = attempts(checkout, [path], {})
    assert len(failed) == bool(entry.refused) == 1
    assert f"FAILS         {path}" in capsys.readouterr().out
