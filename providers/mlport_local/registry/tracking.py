"""MLflow as tracking server and registry: one client a place, and what a job's own MLflow code needs to know."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from mlport.errors import ConfigError, UnavailableError
from mlport.masking import masked
from mlport.spi import Finding
from mlport_local.config import LocalConfig
from mlport_local.engine.manifest import JOB_ID
from mlport_local.registry import mlflow_schema
from mlport_local.registry.mlflow_errors import translated
from mlport_local.registry.quiet import TELEMETRY_OFF, quiet_mlflow

if TYPE_CHECKING:
    from mlflow import MlflowClient

JOB_TAG = "mlport.job"

_clients: dict[tuple[int, str], MlflowClient] = {}
_guard = threading.Lock()


def uri(config: LocalConfig) -> str:
    """The address of the tracking server and registry: `config.mlflow`, else SQLite under the root."""
    return config.mlflow or f"sqlite:///{config.layout.mlflow}"


def is_server(config: LocalConfig) -> bool:
    """Whether MLflow is reached over HTTP, so that files go through its artifact API and not to a folder of ours."""
    return uri(config).startswith(("http://", "https://"))


def client(config: LocalConfig) -> MlflowClient:
    """MLflow's client for this profile: the same object for the same address in one process.

    MLflow's global tracking and registry addresses are neither read nor set, so profiles stay apart.

    Raises:
        ConfigError: the database has the schema of another MLflow release.
        UnavailableError: the server or database cannot be reached.
    """
    address = uri(config)
    key = (os.getpid(), address)  # a connection pool must not be shared with a forked child
    with _guard:
        if key not in _clients:
            _clients[key] = _connect(config, address)
        return _clients[key]


def _connect(config: LocalConfig, address: str) -> MlflowClient:
    quiet_mlflow()
    from mlflow import MlflowClient

    with translated("connect"):
        if config.mlflow is None:
            mlflow_schema.prepare(config.layout)
            _refuse_other_schema(config)
        return MlflowClient(tracking_uri=address, registry_uri=address)


def _refuse_other_schema(config: LocalConfig) -> None:
    finding = _schema(config)
    if not finding.ok:
        being_made = mlflow_schema.revision(config.layout.mlflow) is None
        raise (UnavailableError if being_made else ConfigError)(finding.detail, hint=finding.hint)


def environment(config: LocalConfig, name: str, job_id: str = JOB_ID) -> dict[str, str]:
    """Variables with which MLflow code in a job logs here, under the experiment `name`, tagged with the job.

    Pure. `job_id` defaults to a placeholder that submit replaces.

    >>> environment(LocalConfig(root="/r"), "delays", "delays-1")["MLFLOW_RUN_CONTEXT"]
    '{"mlport.job": "delays-1"}'
    """
    address = masked(uri(config))
    variables = {
        "MLFLOW_TRACKING_URI": address,
        "MLFLOW_REGISTRY_URI": address,
        "MLFLOW_EXPERIMENT_NAME": name,
        "MLFLOW_RUN_CONTEXT": json.dumps({JOB_TAG: job_id}),
        **TELEMETRY_OFF,
    }
    if config.mlflow is None:
        # Without it an experiment that the job is the first to name keeps its artifacts in the job's working directory.
        variables["_MLFLOW_SERVER_ARTIFACT_ROOT"] = str(config.layout.artifacts)
    return variables


def private_environment(config: LocalConfig) -> dict[str, str]:
    """What of `environment` a plan must not show: the address, where it holds a password."""
    address = uri(config)
    return {} if masked(address) == address else {"MLFLOW_TRACKING_URI": address, "MLFLOW_REGISTRY_URI": address}


def experiment_id(config: LocalConfig, name: str) -> str:
    """The experiment of that name: found, restored if it was deleted, or made with its artifacts under the root."""
    mlflow = client(config)
    with translated("experiment"):
        found = mlflow.get_experiment_by_name(name)
        if found is None:
            return _create_experiment(config, mlflow, name)
        if found.lifecycle_stage == "deleted":
            mlflow.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


def _create_experiment(config: LocalConfig, mlflow: MlflowClient, name: str) -> str:
    from mlflow.exceptions import MlflowException

    location = None if config.mlflow else (config.layout.artifacts / "experiments" / name).as_uri()
    try:
        return str(mlflow.create_experiment(name, artifact_location=location))
    except MlflowException:
        raced = mlflow.get_experiment_by_name(name)
        if raced is None:
            raise
        return str(raced.experiment_id)


def end_run(config: LocalConfig, run_id: str, status: str, end_time: int) -> None:
    """Set a run's status and end, in milliseconds since 1970. MLflow's own call prints the run's address to stdout."""
    from mlflow.entities import RunStatus

    with translated("end_run"):
        client(config)._tracking_client.store.update_run_info(run_id, RunStatus.from_string(status), end_time, None)


def findings(config: LocalConfig) -> Iterator[Finding]:
    """What `doctor` says of MLflow: installed, reachable, and its schema up to date."""
    try:
        yield Finding("mlflow", True, f"MLflow {version('mlflow')}")
    except PackageNotFoundError:
        yield Finding("mlflow", False, "MLflow is not installed", "pip install 'mlport[local]'")
        return
    if is_server(config):
        yield _reachable(uri(config))
    elif config.mlflow is None:
        yield _schema(config)


def _schema(config: LocalConfig) -> Finding:
    database = config.layout.mlflow
    if not database.exists():
        return Finding("mlflow schema", True, f"{database} is made at first use")
    has, wants = mlflow_schema.revision(database), mlflow_schema.newest_revision()
    if has == wants:
        return Finding("mlflow schema", True, f"{database} is at revision {has}")
    if has is None:
        detail, hint = "has no schema yet", "another program is making it, or was killed while it did; if none is at work, remove the file"
    else:
        detail = f"is at schema revision {has}, and MLflow {version('mlflow')} needs {wants}"
        hint = f"back it up, then: mlflow db upgrade {uri(config)} (or install the MLflow release that made it)"
    return Finding("mlflow schema", False, f"{database} {detail}", hint)


def _reachable(address: str) -> Finding:
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        with urlopen(f"{address.rstrip('/')}/version", timeout=5) as answer:  # noqa: S310 - the profile's own address
            return Finding("mlflow server", True, f"{address} runs MLflow {answer.read(64).decode(errors='replace')}")
    except (URLError, OSError) as error:
        return Finding("mlflow server", False, f"{address} does not answer: {error}", "start it, or correct `mlflow` in the profile")
