"""The heart of the conformance suite against the emulated Vertex AI by gRPC: a file of its own, so that a worker of its own may run it.

Images are built by Cloud Build, which is asked by REST either way, so that is shown there. Sweeps by gRPC are unit tests.
"""

from __future__ import annotations

from pathlib import Path

from conformance.suite_run import run_suite

HEART = "(test_jobs or test_logs or test_models or test_endpoints or test_accounts) and not test_an_image_is_built"


def test_it_conforms_by_grpc(tmp_path: Path) -> None:
    status, output = run_suite(tmp_path / "run", "--profile=vertex-emulated?transport=grpc", "-k", HEART)
    assert status == 0, output
