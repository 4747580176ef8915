"""What supervisors do beside jobs: when the queue is empty, and when a job has succeeded."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from pathlib import Path

from mlport_local.engine import pool, process, steps
from mlport_local.engine.private import remove_secrets_of_nobody
from mlport_local.layout import Layout
from mlport_local.locks import held_if_free


def on_idle(layout: Layout, connection: sqlite3.Connection, core: Path, mlflow: str | None) -> None:
    """What is done when the queue is empty."""
    remove_secrets_of_nobody(layout, connection)
    if os.environ.get("MLPORT_EXPORT") != "0" and steps.waits_for_export(connection):
        _export(layout, core, mlflow)


def _export(layout: Layout, core: Path, mlflow: str | None) -> None:
    """Let ended jobs become tracking runs, in a process of low priority that outlives us, unless one is at it already."""
    with held_if_free(layout.exporting) as idle:
        if not idle:
            return
    nice = [found] if (found := shutil.which("nice")) else []
    command = [*nice, sys.executable, "-m", "mlport_local.registry.export", str(layout.root), *([mlflow] if mlflow else [])]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), str(core.parent)])
    process.start_detached(command, {**pool.plain_environment(os.environ), "PYTHONPATH": paths}, log=layout.supervisors_log)


def remove_scratch(job_folder: Path) -> None:
    """Remove the working directories and fetched inputs of a job's attempts; outputs, log and results stay."""
    for folder in job_folder.glob("attempt-*"):
        for node in (folder, *folder.glob("node-*")):
            for scratch in ("work", "inputs"):
                shutil.rmtree(node / scratch, ignore_errors=True)  # what cannot be removed goes with the job
