"""What several rooms of tests share: a client of the sample provider, and tiny programs for its jobs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mlport
from mlport import JobSpec


def pytest_configure() -> None:
    """Let Ctrl-C be tested also where the tests run in the background: a shell starts such programs deaf to it, and they their own."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[mlport.Client]:
    """A client of the sample provider with a folder of its own."""
    with mlport.connect(f"sample://{tmp_path}/account") as client:
        yield client


@pytest.fixture
def writes_model(tmp_path: Path) -> Callable[..., JobSpec]:
    """A spec of a job that logs a metric and leaves a model of the text that it is given."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "train.py").write_text(
        "import json, os, sys\n"
        "params = json.loads(os.environ['MLPORT_PARAMS'])\n"
        "with open(os.path.join(os.environ['MLPORT_OUTPUT_MODEL'], 'weights'), 'w') as f: f.write(params['text'])\n"
        "with open(os.environ['MLPORT_METRICS'], 'a') as f: f.write(json.dumps({'length': len(params['text'])}) + '\\n')\n"
    )

    def spec(text: str = "weights", **fields: object) -> JobSpec:
        return JobSpec.model_validate(
            {"name": "writes", "source": str(source), "entrypoint": ["python", "train.py"], "params": {"text": text}, **fields}
        )

    return spec
