"""From a CustomJobSpec to what the pod runs: each replica's commands and the environment that Vertex AI gives it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlport_vertex.emulator.place import Place
from mlport_vertex.emulator.protocol.errors import ApiError, violations
from mlport_vertex.emulator.protocol.resources import parse
from mlport_vertex.emulator.storing.object_records import StorageError
from mlport_vertex.emulator.working import images

Json = dict[str, Any]

TRANSIENT = (6, 11, 134, 139)  # docs.cloud.google.com/vertex-ai/docs/training/understanding-training-service, "common errors"
JOB_RESTARTS, WORKER_RESTARTS = 3, 5  # the same page
GRACE = 10.0  # not documented: a guess
METRIC_FILE, TRIAL_ID = "CLOUD_ML_HP_METRIC_FILE", "CLOUD_ML_TRIAL_ID"  # as hypertune.py of cloudml-hypertune reads them
POD = str(Path(__file__).with_name("pod.py"))
"""The program that runs replicas; it needs nothing but the standard library."""
_REFERENCE = re.compile(r"\$(\$)?\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
KEPT = ("LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""What a replica has from the machine that the emulator runs on; the rest would not be in a container either."""


def pod(place: Place, job: Json, folder: Path, extra: Mapping[str, str], faults: Json) -> Json:
    """What pod.json says for a custom job, its packages fetched. `extra` goes to every replica; `faults` changes the rules.

    Raises ApiError for an image or a package that is not there.
    """
    spec, scheduling = job["jobSpec"], job["jobSpec"].get("scheduling", {})
    keeps_on = not scheduling.get("disableRetries", False)
    return {
        "replicas": list(_replicas(place, job, folder, extra)),
        "timeout": float(scheduling["timeout"].removesuffix("s")) if "timeout" in scheduling else None,
        "grace": GRACE,
        "transient": list(TRANSIENT),
        "job_restarts": JOB_RESTARTS if keeps_on else 0,
        "worker_restarts": WORKER_RESTARTS if faults.get("restart") else 0,
        "restart_all": bool(spec.get("scheduling", {}).get("restartJobOnWorkerRestart")) and keeps_on,
        "preempt": faults.get("preempt", []) if scheduling.get("strategy") == "SPOT" else [],
    }


def _replicas(place: Place, job: Json, folder: Path, extra: Mapping[str, str]) -> Iterator[Json]:
    spec = job["jobSpec"]
    for number, pool in enumerate(spec["workerPoolSpecs"]):
        for index in range(int(pool.get("replicaCount", 0))):
            name = f"workerpool{number}-{index}"
            home = folder / name
            told = {**_told(job), **_located(extra, home)}
            steps, own, folder_of_it = _steps(place, pool, home, told)
            yield {
                "name": name,
                "pool": f"workerpool{number}",
                "index": index,
                "trial": extra.get(TRIAL_ID, ""),
                "steps": steps,
                "folder": str(folder_of_it),
                "env": {**surroundings(place, home), **told, **own},
            }


def _steps(place: Place, pool: Json, home: Path, told: Mapping[str, str]) -> tuple[list[list[str]], dict[str, str], Path]:
    """The commands of a replica, the variables that its image and its spec declare, and the folder where it begins."""
    container = pool.get("containerSpec")
    if container is not None:
        variables = declared(container, told)
        command, args = ([expanded(word, {**told, **variables}) for word in container.get(part, ())] for part in ("command", "args"))
        made = images.container(place, container["imageUri"], command, args, home)
        return [made.argv], {**made.env, **variables}, made.folder
    package = pool["pythonPackageSpec"]
    if not images.executes_packages(place.folder, package["executorImageUri"]):
        raise images.not_found(package["executorImageUri"])
    files = [_fetched(place, uri, home / "downloads") for uri in package["packageUris"]]
    target = home / "packages"
    install = ["-m", "uv", "pip", "install", "-q", "--python", sys.executable, "--offline", "--no-deps", "--no-build-isolation"]
    variables = {"PYTHONPATH": str(target), **declared(package, told)}
    run = ["python3", "-m", package["pythonModule"], *(expanded(word, {**told, **variables}) for word in package.get("args", ()))]
    return [[sys.executable, *install, "--target", str(target), *map(str, files)], run], variables, home / "work"


def _fetched(place: Place, uri: str, folder: Path) -> Path:
    """A copy of an object, under its own name, from which an installer tells what it is. Raises ApiError."""
    try:
        found = place.objects.need(uri, "")
    except StorageError as error:
        raise ApiError("NOT_FOUND", f"The package {uri} cannot be read: {error.message}") from error
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(found.path, folder / found.name.rpartition("/")[2]))


def declared(spec: Json, told: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that a spec sets; `$(NAME)` in a value stands for one that was set before, or that the service tells."""
    found: dict[str, str] = {}
    for each in spec.get("env", ()):
        found[each["name"]] = expanded(each["value"], {**(told or {}), **found})
    return found


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """The text with variables in the place of `$(NAME)`, as Kubernetes does it; an unknown one stays, and `$$(NAME)` is `$(NAME)`.

    >>> expanded("--model=$(AIP_MODEL_DIR) $$(A) $(B)", {"AIP_MODEL_DIR": "gs://b/model/", "A": "a"})
    '--model=gs://b/model/ $(A) $(B)'
    """
    return _REFERENCE.sub(lambda found: found[0][1:] if found[1] else variables.get(found[2], found[0]), text)


def surroundings(place: Place, home: Path) -> dict[str, str]:
    """What stands for the container's own environment, and for its network: the way to the emulator."""
    binaries = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    metadata = {"GCE_METADATA_HOST": place.url.removeprefix("http://"), "GCE_METADATA_IP": place.url.removeprefix("http://")}
    return {**kept, "PATH": binaries, "HOME": str(home / "work"), "PYTHONUNBUFFERED": "1", **metadata, **place.environment}


def _located(extra: Mapping[str, str], home: Path) -> dict[str, str]:
    """Variables for a trial's replicas; each replica has a metric file of its own."""
    return {name: str(home / METRIC_FILE) if name == METRIC_FILE else value for name, value in extra.items()}


def _told(job: Json) -> dict[str, str]:
    """The variables that Vertex AI sets: docs.cloud.google.com/vertex-ai/docs/training/code-requirements#environment-variables."""
    base = job["jobSpec"].get("baseOutputDirectory", {}).get("outputUriPrefix", "").rstrip("/")
    outputs = {"AIP_MODEL_DIR": "model", "AIP_CHECKPOINT_DIR": "checkpoints", "AIP_TENSORBOARD_LOG_DIR": "logs"}
    return {
        "CLOUD_ML_PROJECT_ID": parse(job["name"]).project,
        "CLOUD_ML_JOB_ID": str(job["name"]).rpartition("/")[2],  # google/cloud/aiplatform/training_utils/environment_variables.py reads it
        **({name: f"{base}/{part}/" for name, part in outputs.items()} if base else {}),
    }


def checked(spec: Json, at: str) -> list[tuple[str, str]]:
    """What is wrong with a CustomJobSpec beyond what its description says, as (field, sentence) pairs."""
    found: list[tuple[str, str]] = []
    pools = spec.get("workerPoolSpecs", [])
    for number, pool in enumerate(pools):
        where = f"{at}.worker_pool_specs[{number}]"
        if not pool and number:
            continue  # a pool that is left out keeps its place: an empty spec
        tasks = [name for name in ("containerSpec", "pythonPackageSpec") if name in pool]
        if len(tasks) != 1:
            found.append((f"{where}.task", "Exactly one of container_spec and python_package_spec must be set."))
        if not pool.get("machineSpec", {}).get("machineType") and not spec.get("persistentResourceId"):
            found.append((f"{where}.machine_spec.machine_type", "Required field is not set."))
        count = int(pool.get("replicaCount", 0))
        if number == 0 and count != 1:
            found.append((f"{where}.replica_count", "The replica count of the first worker pool must be 1."))
        if count < 0 or (number and pool and not count):
            found.append((f"{where}.replica_count", "The replica count must be greater than 0."))
    return found


def refuse(problems: list[tuple[str, str]]) -> None:
    """Raise ApiError in the form that Vertex AI lists what it found: one sentence a field."""
    if problems:
        listed = "".join(f"{number}.Field: {field}; Message: {said}\t" for number, (field, said) in enumerate(problems, 1))
        raise ApiError("INVALID_ARGUMENT", f"List of found errors:\t{listed}", [violations(problems)])
