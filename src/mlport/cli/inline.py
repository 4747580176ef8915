"""A JobSpec from options: what `mlport jobs run` saves its users from writing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport.cli.options import compute, given

if TYPE_CHECKING:
    from mlport.specs import JobSpec


def job_spec(
    entrypoint: tuple[str, ...],
    *,
    name: str | None,
    source: str | None,
    cpus: float | None,
    memory_gib: float | None,
    gpus: int | None,
    gpu: str | None,
    nodes: int | None,
    spot: bool,
    **fields: Any,
) -> JobSpec:
    """The spec of a command line; `fields` are further fields of `JobSpec`, repeated options as pairs."""
    from mlport.specs import JobSpec

    mappings = {field: dict(fields.pop(field, ())) for field in ("params", "inputs", "env", "labels")}
    machine = compute(cpus=cpus, memory_gib=memory_gib, gpus=gpus, gpu=gpu, nodes=nodes, spot=spot)
    own = given(source=source or default_source(entrypoint), compute=machine, **mappings, **fields)
    return JobSpec.model_validate({"name": name or default_name(entrypoint), "entrypoint": entrypoint, **own})


def default_name(entrypoint: tuple[str, ...]) -> str:
    """A job's name after its script, else its program.

    >>> default_name(("python", "src/train_model.py", "--fast")), default_name(("/usr/bin/env", "true"))
    ('train-model', 'env')
    """
    words = re.sub(r"[^a-z0-9]+", "-", Path(_script(entrypoint) or entrypoint[0]).stem.lower()).strip("-")[:60].strip("-")
    return words if words[:1].isalpha() else f"job-{words}".strip("-")


def default_source(entrypoint: tuple[str, ...]) -> str | None:
    """Here, when the command names a script that is here."""
    script = _script(entrypoint)
    return "." if script and not Path(script).is_absolute() and Path(script).is_file() else None


def _script(entrypoint: tuple[str, ...]) -> str | None:
    return next((word for word in entrypoint[:2] if word.endswith((".py", ".sh")) or word.startswith("./")), None)
