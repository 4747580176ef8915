"""What the conformance tests share: clients of two accounts, jobs that are cleaned up, one trained model, one endpoint."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import mlport
from mlport import Capability, Endpoint, Job, JobSpec, ModelVersion
from mlport.errors import NotFoundError
from mlport.scheduling.stored import StoredSchedules
from mlport.testing import programs
from mlport.testing.beside import MARK, Beside
from mlport.testing.plugin import is_worker
from mlport.testing.plugin import targets as targets_of
from mlport.testing.targets import Targets

RunProgram = Callable[..., Job]


@pytest.fixture(scope="session")
def targets(pytestconfig: pytest.Config) -> Targets:
    return targets_of(pytestconfig)


@pytest.fixture(scope="session")
def seconds(pytestconfig: pytest.Config) -> float:
    """How long a job, a deployment or a change may take here."""
    return float(pytestconfig.getoption("job_seconds"))


@pytest.fixture(scope="session", autouse=True)
def beside(request: pytest.FixtureRequest, targets: Targets, seconds: float) -> Iterator[Beside]:
    """The tests that wait for the vendor's clock, begun here where it is not mlport's own."""
    session = request.session
    tests = [(item.name, item.function) for item in session.items if isinstance(item, pytest.Function) and item.get_closest_marker(MARK)]
    found = Beside(targets, seconds)
    client = targets.connect() if tests else None
    if client is not None:
        with client:
            is_waited_for = not isinstance(client.session.schedules, StoredSchedules)
            if is_waited_for:  # a call loads what a thread could not: pytest sets the filters of warnings anew for each test
                next(iter(client.schedules.list()), None)
        found.begin(tests if is_waited_for else [])
    yield found
    found.close(wait=is_worker(request.config) and not (session.shouldstop or session.shouldfail))


@pytest.fixture(scope="session")
def client(targets: Targets) -> Iterator[mlport.Client]:
    """The account under test."""
    opened = targets.connect()
    if opened is None:
        pytest.fail("--profile names no target to test")
    with opened:
        yield opened


@pytest.fixture
def again(targets: Targets) -> Iterator[mlport.Client]:
    """The account under test, opened anew: what another process would see."""
    opened = targets.connect()
    if opened is None:
        pytest.fail("--profile names no target to test")
    with opened:
        yield opened


@pytest.fixture(scope="session")
def other(targets: Targets) -> Iterator[mlport.Client]:
    """A second account, open beside the first."""
    opened = targets.connect(1)
    if opened is None:
        pytest.skip("--other-profile names no second account")
    with opened:
        yield opened


@pytest.fixture
def unique() -> str:
    """A name that nothing else has."""
    return f"suite-{secrets.token_hex(5)}"


@pytest.fixture
def spec_of(unique: str, tmp_path: Path) -> Callable[..., JobSpec]:
    """Makes the spec of a job that runs a script as its main.py."""

    def make(script: str, **fields: Any) -> JobSpec:
        source = programs.folder_of(tmp_path / "source", script)
        return JobSpec.model_validate({"name": unique, "source": str(source), "entrypoint": ["python", "main.py"], **fields})

    return make


@pytest.fixture
def run(client: mlport.Client, spec_of: Callable[..., JobSpec], seconds: float) -> Iterator[RunProgram]:
    """Submits a script as a job; whatever still runs at the end of the test is cancelled."""
    started: list[Job] = []

    def submit(script: str, *, key: str | None = None, **fields: Any) -> Job:
        started.append(client.jobs.submit(spec_of(script, **fields), key=key))
        return started[-1]

    yield submit
    for job in started:
        with suppress(NotFoundError):  # the test deleted it
            if not job.state.terminal and client.can(Capability.JOB_CANCEL):
                job.cancel()


@pytest.fixture(scope="session")
def trained(client: mlport.Client, targets: Targets, seconds: float, pytestconfig: pytest.Config) -> Job:
    """A job that left a small MLflow model; its key makes the workers of a run share it."""
    source = programs.folder_of(targets.folder / "train", programs.TRAIN)
    requirements = tuple(filter(None, pytestconfig.getoption("job_requirements").split(",")))
    spec = JobSpec(name="suite-train", source=str(source), entrypoint=("python", "main.py"), params={"c": 1.0}, requirements=requirements)
    return client.jobs.submit(spec, key=f"{targets.run} train").wait(seconds)


@pytest.fixture(scope="session")
def model_name(targets: Targets) -> str:
    return targets.model


@pytest.fixture(scope="session")
def version(client: mlport.Client, trained: Job, model_name: str) -> ModelVersion:
    """The trained model, registered once."""
    return client.models.register(model_name, from_job=trained)


@pytest.fixture(scope="session")
def second_version(client: mlport.Client, trained: Job, model_name: str, targets: Targets, version: ModelVersion) -> ModelVersion:
    """The same files registered as another version."""
    return client.models.register(model_name, from_job=trained, key=f"{targets.run} second")


@pytest.fixture(scope="session")
def options(targets: Targets) -> dict[str, Any]:
    """What an endpoint is made with here: no capture where there is none."""
    return {} if not targets.absent(Capability.ENDPOINT_CAPTURE) else {"capture": None}


@pytest.fixture(scope="session")
def endpoint(client: mlport.Client, version: ModelVersion, targets: Targets, options: dict[str, Any]) -> Endpoint:
    """An endpoint that the tests only ask; shared by the workers of a run."""
    return client.endpoints.create(targets.endpoint, version, key=f"{targets.run} endpoint", **options)


@pytest.fixture(scope="module")
def own_endpoint(client: mlport.Client, version: ModelVersion, options: dict[str, Any]) -> Iterator[Endpoint]:
    """An endpoint that one module of tests may change, counting what it sends."""
    made = client.endpoints.create(f"suite-{secrets.token_hex(5)}", version, **options)
    yield made
    made.delete()
