"""MLflow's own programs and ours see the same models: its client, its model server, and its tracking server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlport.bundle import tree_digest
from mlport.errors import NotFoundError, UnavailableError
from mlport.specs import ModelSpec
from mlport.spi import Facts, Plan, Query, Request
from mlport.transfer import local_path
from mlport_local.config import LocalConfig
from mlport_local.models import LocalModels
from mlport_local.registry import model_files, tracking
from mlport_local.registry.model_request import model_request
from mlport_local.registry.quiet import TELEMETRY_OFF

WITH_OUR_PROGRAMS = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **TELEMETRY_OFF}


@pytest.fixture(scope="module")
def mlflow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model, saved by MLflow in a process of its own (its save warns about what is not ours)."""
    path = tmp_path_factory.mktemp("mlflow") / "model"
    code = """if True:
        import sys, mlflow
        from sklearn.linear_model import LogisticRegression
        from mlflow.models import infer_signature
        import pandas as pd
        x = pd.DataFrame({"hour": [1.0, 2.0, 3.0, 4.0], "late": [0.0, 1.0, 0.0, 1.0]})
        model = LogisticRegression().fit(x, [0, 0, 1, 1])
        mlflow.sklearn.save_model(model, sys.argv[1], signature=infer_signature(x, model.predict(x)), pip_requirements=["scikit-learn"])
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, path], check=True, capture_output=True, timeout=120)
    return path


def plan_for(config: LocalConfig, path: Path) -> Plan:
    spec = ModelSpec(name="delays", path=str(path), tags={"team": "ops"})
    facts = Facts(model={"digest": tree_digest(path), "lineage": {"bundle": "b"}, "trusted": True})
    return Plan("local", config.target, "model", "delays", spec.to_json(), facts, (Request("r", model_request(spec, facts, config)),))


@contextmanager
def mlflow_running(place: Path, *arguments: str, answers: str, env: dict[str, str] | None = None) -> Iterator[str]:
    """The address of an MLflow program that runs until the block ends; `answers` is the path that says it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "mlflow", *arguments, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with place.joinpath("log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env={**WITH_OUR_PROGRAMS, **(env or {})})
    try:
        wait_until_answers(f"http://127.0.0.1:{port}/{answers}", process, place / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_mlflow_loads_what_we_register(mlflow_model: Path, tmp_path: Path) -> None:
    config = LocalConfig(root=tmp_path / "root")
    models = LocalModels(config)
    models.register(plan_for(config, mlflow_model), token="a" * 32)
    models.set_alias("delays", "champion", "1")
    version = models.get("delays", "1")
    assert set(version.flavors) == {"python_function", "sklearn"}
    assert version.signature is not None
    assert [column["name"] for column in version.signature["inputs"]] == ["hour", "late"]
    code = """if True:
        import mlflow, pandas as pd
        for uri in ("models:/delays/1", "models:/delays@champion"):
            print(mlflow.pyfunc.load_model(uri).predict(pd.DataFrame({"hour": [4.0], "late": [1.0]})).tolist())
        print(mlflow.MlflowClient().get_model_version("delays", 1).tags["mlport.digest"])
    """
    environment = {**os.environ, **tracking.environment(config, "x", "x")}
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert result.stdout.splitlines() == ["[1]", "[1]", version.digest], result.stderr
    # MLflow has now written its own file beside the version's; those that were registered are as they were.
    assert list(config.layout.artifacts.rglob(model_files.LEFT_BY_MLFLOW))
    assert tree_digest(local_path(version.uri)) == tree_digest(models.download("delays", "1", tmp_path / "copy")) == version.digest


def test_mlflow_serves_what_we_register(mlflow_model: Path, tmp_path: Path) -> None:
    config = LocalConfig(root=tmp_path / "root")
    LocalModels(config).register(plan_for(config, mlflow_model), token="a" * 32)
    options = ["models", "serve", "--model-uri", "models:/delays/1", "--env-manager", "local"]
    with mlflow_running(tmp_path, *options, answers="ping", env=tracking.environment(config, "x", "x")) as address:
        body = json.dumps({"dataframe_records": [{"hour": 4.0, "late": 1.0}]}).encode()
        asked = urllib.request.Request(f"{address}/invocations", body, {"content-type": "application/json"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert json.load(answer) == {"predictions": [1]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An MLflow tracking server that keeps everything in a temporary folder."""
    place = tmp_path_factory.mktemp("server")
    stores = ["--backend-store-uri", f"sqlite:///{place}/server.db", "--artifacts-destination", str(place / "files")]
    with mlflow_running(place, "server", *stores, answers="health") as address:
        yield address


def test_versions_of_a_server(server: str, tmp_path: Path) -> None:
    config = LocalConfig(root=tmp_path / "root", mlflow=server)
    models = LocalModels(config)
    made = tmp_path / "made"
    made.joinpath("deep").mkdir(parents=True)
    made.joinpath("deep", "weights.bin").write_bytes(b"1234")
    plan = plan_for(config, made)

    first, again = (models.register(plan, token="a" * 32) for _ in range(2))
    assert first == again == models.find("a" * 32)
    models.set_alias("delays", "champion", "1")
    version = models.get("delays", models.resolve("delays", "champion"))
    assert (version.tags, version.lineage, version.aliases) == ({"team": "ops"}, {"bundle": "b"}, ("champion",))
    assert version.uri.startswith("mlflow-artifacts:")
    assert tree_digest(models.download("delays", "1", tmp_path / "copy")) == version.digest == tree_digest(made)
    assert models.versions("delays", Query()).items == [version]
    assert [model.latest_version for model in models.list(Query()).items] == ["1"]
    models.tag("delays", "1", {"team": None})
    models.drop_alias("delays", "champion")
    assert (models.get("delays", "1").tags, models.get("delays", "1").aliases) == ({}, ())
    models.delete("delays", "1")
    with pytest.raises(NotFoundError):
        models.get("delays", "1")
    assert not config.layout.artifacts.exists() or not list(config.layout.artifacts.rglob("*.bin"))
    assert all(finding.ok for finding in tracking.findings(config))


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UnavailableError) as caught:
        LocalModels(LocalConfig(root=tmp_path, mlflow="http://127.0.0.1:9")).get("delays", "1")
    assert caught.value.retryable
