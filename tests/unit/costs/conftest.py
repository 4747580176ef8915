"""The tiny pricing, as if it were installed beside the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aids.pricing import POINTS, catalogue

from mlport.cli.main import run
from mlport.costs import pricing
from mlport.costs.catalogue import Catalogue


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {**pricing._found(), **POINTS}
    monkeypatch.setattr(pricing, "_found", lambda: found)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`mlport cost ...`: its exit status, output and error output."""

    def call(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = run(["cost", *args])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def prices() -> Catalogue:
    return catalogue()
