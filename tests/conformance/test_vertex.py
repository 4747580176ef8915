"""The conformance suite against the emulated Vertex AI, whole, by REST. `make conformance` runs any profile."""

from __future__ import annotations

from pathlib import Path

from conformance.suite_run import run_suite


def test_it_conforms_by_rest(tmp_path: Path) -> None:
    status, output = run_suite(tmp_path / "run", "--profile=vertex-emulated")
    assert status == 0, output
    assert "skipped" not in output, "what is absent is seen to be refused, never skipped"
