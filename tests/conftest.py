"""What several rooms of tests share: a client of the sample provider, tiny programs for its jobs, and which files begin first."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import mlport
from mlport import JobSpec

HERE = Path(__file__).parent
settings.register_profile("the same", derandomize=True, deadline=None)
settings.load_profile("the same")  # the same examples in each run: what a law lacks is found when it is written, not by chance
LONGEST = (
    "conformance/test_vertex.py",
    "conformance/test_databricks.py",
    "conformance/test_suite.py",
    "examples/test_examples.py",
    "conformance/test_planted.py",
    "conformance/test_vertex_grpc.py",
    "unit/vertex/test_endpoints.py",
    "unit/vertex/test_sweeps.py",
    "unit/databricks/test_endpoints.py",
    "faults/test_endpoint_machine.py",
    "faults/test_endpoint_points.py",
    "unit/serving/test_server.py",
    "unit/core/test_sweeps.py",
    "unit/local/test_tracking.py",
    "unit/local/test_models_mlflow.py",
    "fidelity/databricks/test_serving.py",
    "fidelity/databricks/test_runs.py",
    "fidelity/vertex/test_programs.py",
    "fidelity/vertex/test_batch_tables.py",
    "unit/vertex/test_batch_jobs.py",
    "fidelity/databricks/test_unity_models.py",
    "fidelity/databricks/test_serving_traffic.py",
    "fidelity/vertex/test_endpoints.py",
    "unit/vertex/test_build.py",
    "docs/test_writing_a_provider.py",
    "docs/test_readme.py",
)
"""The files that take longest, the longest first: a worker that came to one of them last would keep all others waiting."""


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C be tested also where the tests run in the background: a shell starts such programs deaf to it, and they their own.

    And let pytest-xdist hand the files out in the order of `pytest_collection_modifyitems`: by itself it begins with those of
    the most tests, and ends with the conformance to a cloud, which is one test of some minutes.
    """
    config.option.loadscopereorder = False
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others in their own order. Each is one worker's."""
    place = {HERE / name: number for number, name in enumerate(LONGEST)}
    if absent := [str(path) for path in place if not path.is_file()]:
        raise pytest.UsageError(f"LONGEST in {__file__} names what is not there: {', '.join(absent)}")
    items.sort(key=lambda item: place.get(item.path, len(place)))


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
