"""Starting supervisors: how many there may be is the queue's business, how one is started is said here."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlport import errors
from mlport_local.engine.process import LINUX, start_detached
from mlport_local.engine.reservation import Limits
from mlport_local.layout import Layout

CORE = Path(errors.__file__).parent
"""Where the core's files lie; a supervisor imports two of them."""

PLAIN = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
)
PLAIN_PREFIXES = ("LC_", "CUDA_", "OMP_")
"""Variables of yours that every job sees. Others do not reach it, so that it runs alike from any terminal."""

PRIVATE_PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "UV_", "PIP_")
PRIVATE = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
"""Variables that may hold credentials: handed to a job like its secrets, never stored beside it."""

OWN = ("MLPORT_EXPORT", "MLPORT_FAULT", "MLPORT_CLOCK", "MLPORT_BUSY_SECONDS")
"""Variables that supervisors themselves read."""
LARGEST_LOG = 4 << 20
"""Bytes of `supervisors.log` after which it is put aside, and the one before it forgotten."""


def plain_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What every job sees of the submitter's environment."""
    return {name: value for name, value in environ.items() if name in PLAIN or name.startswith(PLAIN_PREFIXES)}


def private_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a job needs of the submitter's environment to reach the network, object stores and package indexes."""
    return {name: value for name, value in environ.items() if name.lower() in PRIVATE or name.startswith(PRIVATE_PREFIXES)}


def start_supervisor(layout: Layout, limits: Limits, mlflow: str | None = None) -> int:
    """Start a supervisor of this root; its pid. It looks for work and leaves when there is none.

    With `MLPORT_EXPORT=0`, ended jobs wait for someone to ask before they become tracking runs.
    """
    settings: dict[str, Any] = {"root": str(layout.root), "limits": asdict(limits), "mlflow": mlflow, "core": str(CORE)}
    own = {name: os.environ[name] for name in OWN if name in os.environ}
    env = {**plain_environment(os.environ), **own, "MLPORT_SUPERVISOR": json.dumps(settings)}
    lean = ["-I", "-S"] if LINUX else ["-I"]  # elsewhere psutil is needed, from site-packages
    command = [sys.executable, *lean, str(Path(__file__).with_name("supervise.py"))]
    _put_aside(layout.supervisors_log)
    return start_detached(command, env, log=layout.supervisors_log)


def _put_aside(log: Path) -> None:
    try:
        if log.stat().st_size > LARGEST_LOG:
            os.replace(log, log.with_suffix(".log.1"))
    except FileNotFoundError:
        return  # it does not exist yet, or another process was faster
