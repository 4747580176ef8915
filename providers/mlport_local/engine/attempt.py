"""One attempt at a job: its folder, its runners' manifests, starting them behind their gates, and what they left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlport_local.engine.process import DEFAULTED, FOLDER, Identity, boot_id, brand, identify
from mlport_local.engine.reservation import gpu_environment

Json = dict[str, Any]
GATE = 3
"""The descriptor at which a runner waits for the word to begin."""


class BuildError(Exception):
    """An attempt's environment could not be built; the text says why, and what may help."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. `began` is False when no program of the user's can have run."""

    state: str
    cause: str
    reason: str
    result: Json = field(default_factory=dict)
    began: bool = True

    @property
    def told(self) -> bool:
        """Whether the runner itself wrote how it ended; otherwise it is what its death tells."""
        return "state" in self.result


NOT_BEGUN = Outcome("CANCELLED", "cancelled", "cancelled", began=False)


def node_folder(attempt_folder: Path, rank: int) -> Path:
    """Where one node of an attempt keeps its files."""
    return attempt_folder / f"node-{rank}" if rank else attempt_folder


def runner_manifest(request: Json, job_id: str, job_folder: Path, attempt_folder: Path, node: Json) -> Json:
    """The runner's manifest for one node: the stored request, with every path filled in."""
    folder = node_folder(attempt_folder, node["rank"])
    return {
        "version": 1,
        "job": job_id,
        "name": request["name"],
        "source": request.get("source"),
        "source_digest": request.get("source_digest"),
        "workdir": str(folder / "work"),
        "files": request.get("files") or {},
        "entrypoint": request["entrypoint"],
        "params": request.get("params") or {},
        "env": request.get("env") or {},
        "inputs": {
            name: {**entry, "path": str(folder / "inputs" / name / _base(entry["uri"], name))}
            for name, entry in (request.get("inputs") or {}).items()
        },
        "outputs": {
            name: {"path": entry.get("path") or str(folder / "outputs" / name), "uri": entry.get("uri")}
            for name, entry in _outputs(request, node["rank"]).items()
        },
        "checkpoint": {"path": str(job_folder / "checkpoint"), "uri": None},
        "metrics": request["metrics"] if node["rank"] == 0 else str(folder / "metrics.jsonl"),
        "result": str(folder / "result.json"),
        "started": str(folder / "started"),
        "node": node,
        "timeout": request.get("timeout"),
        "grace": request.get("grace", 10),
        "transfer": request.get("transfer"),
    }


def _base(uri: str, name: str) -> str:
    return uri.split("?", maxsplit=1)[0].rstrip("/").rpartition("/")[2] or name


def _outputs(request: Json, rank: int) -> Json:
    """The outputs of one node: only those of rank 0 go where the user wants them."""
    wanted: Json = request.get("outputs") or {}
    return wanted if rank == 0 else {name: {} for name in wanted}


def nodes(count: int) -> list[Json]:
    """Rank, count and meeting point of each node; they meet at a port that is free now."""
    port = 29500
    if count > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    return [{"rank": rank, "count": count, "main_address": "127.0.0.1", "main_port": port} for rank in range(count)]


def prepare(request: Json, job_id: str, job_folder: Path, attempt_folder: Path) -> list[Path]:
    """Make the attempt's folder anew and write each node's manifest; their paths, by rank."""
    if attempt_folder.exists():
        shutil.rmtree(attempt_folder)
    paths = []
    for node in nodes(request.get("nodes", 1)):
        folder = node_folder(attempt_folder, node["rank"])
        folder.mkdir(parents=True, mode=0o700)
        paths.append(folder / "manifest.json")
        paths[-1].write_text(json.dumps(runner_manifest(request, job_id, job_folder, attempt_folder, node)), encoding="utf-8")
    return paths


# ---------------------------------------------------------------- starting


@dataclass(frozen=True, slots=True)
class Gated:
    """A runner that waits for a byte on its gate; when the gate closes without one, it leaves."""

    identity: Identity
    gate: int


def start_runner(interpreter: str, core: Path, manifest: Path, env: Mapping[str, str], job_folder: Path) -> Gated:
    """Start a runner in a session of its own, marked as the job's, waiting at its gate. Its output goes straight to the log."""
    boot = f"import sys; sys.path.append({str(core)!r}); import mlport_runner; sys.exit(mlport_runner.main(sys.argv[1]))"
    inside, outside = os.pipe()
    try:
        pid = os.posix_spawn(
            interpreter,
            [interpreter, "-I", "-S", "-c", boot, str(manifest)],
            {**env, "MLPORT_GATE": str(GATE)},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, inside, GATE),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(job_folder / "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=DEFAULTED,
        )
    except OSError:
        os.close(outside)
        raise
    finally:
        os.close(inside)
    brand(pid, job_folder)
    return Gated(identify(pid) or Identity(pid, 0, boot_id()), outside)


@contextmanager
def gated(
    interpreter: str, core: Path, manifests: Sequence[Path], envs: Sequence[Mapping[str, str]], job_folder: Path
) -> Iterator[list[Gated]]:
    """All runners of an attempt, waiting; those that got no word by the end of the block leave."""
    started: list[Gated] = []
    try:
        for manifest, env in zip(manifests, envs, strict=True):
            started.append(start_runner(interpreter, core, manifest, env, job_folder))
        yield started
    finally:
        for runner in started:
            os.close(runner.gate)


def open_gates(runners: Sequence[Gated]) -> None:
    """Let the runners begin. One that has died meanwhile is noticed by who waits for it."""
    for runner in runners:
        try:
            os.write(runner.gate, b"g")
        except BrokenPipeError:
            continue


def job_environment(request: Json, private: Mapping[str, str], job_folder: Path) -> dict[str, str]:
    """A runner's environment: what the submitter handed over, the secrets, and the mark of the job."""
    tests = {name: os.environ[name] for name in ("MLPORT_FAULT",) if name in os.environ}
    return {**request.get("environment", {}), **private, **tests, FOLDER: str(job_folder)}


def node_environments(env: Mapping[str, str], devices: Sequence[int], nodes: int, *, there_are: bool) -> list[dict[str, str]]:
    """The environment of each node's runner: the job's, and the GPUs that the node may see."""
    return [{**env, **gpu_environment(devices, rank, nodes, there_are=there_are)} for rank in range(nodes)]


# ---------------------------------------------------------------- what was left


def outcome_of(attempt_folder: Path, rank: int, runner: Identity, status: int | None) -> Outcome:
    """How one node ended: its result.json, or what its runner's death tells. `status` is the exit code, if known."""
    folder = node_folder(attempt_folder, rank)
    where = f"node {rank}: " if rank else ""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        result["resolved"] = {**result.get("resolved", {}), **resolved_of(attempt_folder)}
        return Outcome(result["state"], result["cause"], f"{where}{result['reason']}" if result["reason"] else "", result)
    except FileNotFoundError:
        damage = ""
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        damage = f", and its result.json is damaged ({error})"
    rebooted = runner.boot != boot_id()
    began = rebooted or (folder / "started").exists()
    cause = "out of memory" if status == -signal.SIGKILL else "lost"
    return Outcome("FAILED", cause, where + _death(rebooted, status) + damage, began=began)


def note_resolved(attempt_folder: Path, resolved: Json) -> None:
    """Remember with the attempt what its environment really holds; whoever reads the outcome may be another process."""
    (attempt_folder / "resolved.json").write_text(json.dumps(resolved), encoding="utf-8")


def resolved_of(attempt_folder: Path) -> Json:
    """What `note_resolved` noted, {} if nothing."""
    try:
        found: Json = json.loads((attempt_folder / "resolved.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def _death(rebooted: bool, status: int | None) -> str:
    if rebooted:
        return "lost: the machine restarted"
    if status is None:
        return "lost: its runner was killed"
    if status < 0:
        return f"its runner was killed by {signal.Signals(-status).name}{' (out of memory?)' if status == -signal.SIGKILL else ''}"
    return f"its runner ended with exit code {status} and left no result"


def together(outcomes: Sequence[Outcome], first_bad: Outcome | None) -> Outcome:
    """The outcome of all nodes: of the first that failed, else of rank 0; what was used is summed."""
    lead = first_bad or outcomes[0]
    result = {**lead.result, "usage": total_usage([outcome.result.get("usage", {}) for outcome in outcomes], parallel=True)}
    if first_bad:
        result["metrics"] = outcomes[0].result.get("metrics", {})
    return Outcome(lead.state, lead.cause, lead.reason, result, any(outcome.began for outcome in outcomes))


def total_usage(parts: Sequence[Json], *, parallel: bool = False) -> Json:
    """What several nodes, or attempts, used together. Wall time of nodes is that of the longest."""
    walls = [part.get("wall_seconds", 0.0) for part in parts]
    return {
        "wall_seconds": max(walls, default=0.0) if parallel else sum(walls),
        "cpu_seconds": sum(part.get("cpu_seconds", 0.0) for part in parts),
        "max_rss_bytes": max((part.get("max_rss_bytes", 0) for part in parts), default=0),
    }
