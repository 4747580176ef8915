"""MLflow as tracking server: made once, apart from MLflow's globals, and reached by user code in jobs."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from mlport.errors import ConfigError, UnavailableError
from mlport_local.config import LocalConfig
from mlport_local.engine.manifest import JOB_ID
from mlport_local.registry import mlflow_schema, tracking


@pytest.fixture
def config(tmp_path: Path) -> LocalConfig:
    return LocalConfig(root=tmp_path / "root")


def run_python(code: str, *arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        command, env={**os.environ, **paths, **(env or {})}, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def test_one_client_for_each_place(config: LocalConfig, tmp_path: Path) -> None:
    other = LocalConfig(root=tmp_path / "other")
    with ThreadPoolExecutor(4) as pool:
        clients = set(pool.map(tracking.client, [config] * 4))
    assert clients == {tracking.client(config)}
    tracking.client(config).create_experiment("mine")
    assert tracking.client(other).get_experiment_by_name("mine") is None


def test_mlflow_globals_are_left_alone(config: LocalConfig) -> None:
    import mlflow

    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri(), os.environ.get("MLFLOW_TRACKING_URI")
    tracking.client(config).create_experiment("mine")
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), os.environ.get("MLFLOW_TRACKING_URI")) == before


def test_importing_tracking_does_not_import_mlflow() -> None:
    code = "import sys; from mlport_local import models; from mlport_local.registry import export, tracking; assert not {'mlflow', 'pandas', 'sqlalchemy'} & set(sys.modules)"
    finished(run_python(code))


def test_the_default_experiment_keeps_its_artifacts_under_the_root(config: LocalConfig) -> None:
    default = tracking.client(config).get_experiment("0")
    assert default.artifact_location == str(config.layout.artifacts / "0")


def test_the_database_has_the_newest_schema_and_a_write_ahead_log(config: LocalConfig) -> None:
    database = mlflow_schema.prepare(config.layout)
    assert mlflow_schema.revision(database) == mlflow_schema.newest_revision()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_schema_is_that_of_mlflows_own_migrations(config: LocalConfig, tmp_path: Path) -> None:
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine(f"sqlite:///{tmp_path / 'theirs.db'}")
    utils._initialize_tables(engine)
    engine.dispose()
    assert definitions(mlflow_schema.prepare(config.layout)) == definitions(tmp_path / "theirs.db")


def definitions(database: Path) -> list[list[str]]:
    """Each table's and index's lines, sorted: MLflow's migrations write a table's constraints in no fixed order."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        return sorted(sorted(line.strip("\t ,") for line in sql.splitlines()) for (sql,) in rows)


def test_processes_that_come_first_together_share_one_database(config: LocalConfig) -> None:
    code = """if True:
        import sys
        from mlport_local.registry import tracking
        from mlport_local.config import LocalConfig
        client = tracking.client(LocalConfig(root=sys.argv[1]))
        client.log_metric(client.create_run(tracking.experiment_id(LocalConfig(root=sys.argv[1]), "race")).info.run_id, "m", 1.0)
    """
    for process in [run_python(code, config.root) for _ in range(3)]:
        finished(process)
    client = tracking.client(config)
    assert len(client.search_runs([tracking.experiment_id(config, "race")])) == 3
    assert not list(config.root.glob(".mlflow-*"))


def test_a_database_of_another_release_is_refused_and_named_by_doctor(config: LocalConfig) -> None:
    database = mlflow_schema.prepare(config.layout)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'older'")
    with pytest.raises(ConfigError, match="revision older"):
        tracking.client(config)
    schema = next(finding for finding in tracking.findings(config) if finding.check == "mlflow schema")
    assert not schema.ok
    assert "mlflow db upgrade" in schema.hint


def test_a_database_that_another_program_is_making_is_waited_for(config: LocalConfig) -> None:
    config.root.mkdir()
    config.layout.mlflow.touch()
    with pytest.raises(UnavailableError, match="has no schema yet"):
        tracking.client(config)


def test_a_root_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    tmp_path.joinpath("file").touch()
    with pytest.raises(UnavailableError, match="file"):
        tracking.client(LocalConfig(root=tmp_path / "file" / "root"))


def test_doctor_is_content_before_and_after_first_use(config: LocalConfig) -> None:
    assert all(finding.ok for finding in tracking.findings(config))
    assert not config.layout.mlflow.exists()
    tracking.client(config)
    assert all(finding.ok for finding in tracking.findings(config))


def test_doctor_names_a_server_that_does_not_answer() -> None:
    findings = list(tracking.findings(LocalConfig(mlflow="http://127.0.0.1:9")))
    assert [finding.ok for finding in findings] == [True, False]


def test_environment_is_plain_data_with_a_placeholder_for_the_job(config: LocalConfig) -> None:
    variables = tracking.environment(config, "delays")
    assert json.loads(variables["MLFLOW_RUN_CONTEXT"]) == {"mlport.job": JOB_ID}
    assert variables["MLFLOW_TRACKING_URI"] == variables["MLFLOW_REGISTRY_URI"] == f"sqlite:///{config.layout.mlflow}"
    assert not config.layout.mlflow.exists()
    assert "_MLFLOW_SERVER_ARTIFACT_ROOT" not in tracking.environment(LocalConfig(mlflow="http://mlflow:5000"), "delays")


def test_user_code_logs_here_under_the_jobs_name_with_its_tag(config: LocalConfig, tmp_path: Path) -> None:
    tracking.client(config)
    code = "import mlflow\nwith mlflow.start_run():\n mlflow.log_metric('auc', 0.7)\n mlflow.log_text('hello', 'note.txt')\n"
    finished(run_python(code, env=tracking.environment(config, "delays", "delays-1"), cwd=tmp_path))
    client = tracking.client(config)
    (run,) = client.search_runs([tracking.experiment_id(config, "delays")])
    assert run.data.tags["mlport.job"] == "delays-1"
    assert run.data.metrics == {"auc": 0.7}
    assert run.info.artifact_uri.startswith(str(config.layout.artifacts))
    assert not (tmp_path / "mlruns").exists()


def test_experiment_is_found_again_and_restored(config: LocalConfig) -> None:
    first = tracking.experiment_id(config, "delays")
    tracking.client(config).delete_experiment(first)
    assert tracking.experiment_id(config, "delays") == first
    assert tracking.client(config).get_experiment(first).lifecycle_stage == "active"
