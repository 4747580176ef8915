"""The conformance suite against the emulated Vertex AI: whole by REST, its heart by gRPC. `make conformance` runs any profile."""

from __future__ import annotations

from pathlib import Path

from conformance.suite_run import run_suite

HEART = "test_jobs or test_logs or test_models or test_endpoints or test_accounts or test_sweeps"


def test_it_conforms_by_rest(tmp_path: Path) -> None:
    status, output = run_suite(tmp_path / "run", "--profile=vertex-emulated")
    assert status == 0, output
    assert "skipped" not in output, "what is absent is seen to be refused, never skipped"


def test_it_conforms_by_grpc(tmp_path: Path) -> None:
    status, output = run_suite(tmp_path / "run", "--profile=vertex-emulated?transport=grpc", "-k", HEART)
    assert status == 0, output
