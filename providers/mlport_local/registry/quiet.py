"""Importing MLflow without its telemetry and its chatter."""

from __future__ import annotations

import os
import sys
import threading
import warnings

TELEMETRY_OFF = {"MLFLOW_DISABLE_TELEMETRY": "true"}
_QUIET = {**TELEMETRY_OFF, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
_LEVEL = "MLFLOW_LOGGING_LEVEL"
_guard = threading.Lock()
_ready = threading.Event()


def quiet_mlflow() -> None:
    """Import MLflow with telemetry and progress bars off and its log at warnings. A process that imported it before keeps its own choice."""
    with _guard:
        if not _ready.is_set():
            if "mlflow" not in sys.modules:
                _import_at_warnings()
            _load_stores()
            _ready.set()


def _import_at_warnings() -> None:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    chosen = os.environ.get(_LEVEL)
    os.environ[_LEVEL] = chosen or "WARNING"
    import mlflow  # noqa: F401 - reads both variables while it is imported

    if chosen is None:
        del os.environ[_LEVEL]  # so that programs started from here keep MLflow's default


def _load_stores() -> None:
    """Import MLflow's SQL stores here, once: what they do with SQLAlchemy is deprecated there, and not the user's concern."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.store.model_registry.sqlalchemy_store
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
        from sqlalchemy.orm import configure_mappers

        configure_mappers()
