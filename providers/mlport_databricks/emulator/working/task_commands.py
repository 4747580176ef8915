"""From a task to what its attempt runs: commands to install libraries, the program, and the environment it finds.

Every program sees `/Workspace` and `/Volumes` of its workspace (mlport.emulation.mounts) and reaches this emulator as its user.
"""

from __future__ import annotations

import json
import os
import posixpath
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlport.emulation import mounts
from mlport_databricks.emulator.protocol.errors import ApiError
from mlport_databricks.emulator.storing.files import OutsideError
from mlport_databricks.emulator.working.node_types import runtime
from mlport_databricks.emulator.working.task_states import refused

if TYPE_CHECKING:
    from mlport_databricks.emulator.place import Place

Json = dict[str, Any]

PROGRAMS = Path(__file__).with_name("programs")
ATTEMPT = str(PROGRAMS / "attempt.py")
GRACE = 5.0  # seconds between SIGTERM and SIGKILL: not documented, a guess
KEPT = ("LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""What a program has from the machine that the emulator runs on."""
SERVERLESS = "client.{version}.0"  # DATABRICKS_RUNTIME_VERSION there; "4" if the environment names none
ACCESS = "Either it does not exist, or the identity used to run this job, {user}, lacks the required permissions."


class TaskRefused(Exception):  # noqa: N818 - an outcome
    """The attempt cannot begin; `outcome` is how it ended."""

    def __init__(self, outcome: Json) -> None:
        super().__init__(outcome["message"])
        self.outcome = outcome


def attempt(place: Place, run: Json, spec: Json, folder: Path, libraries: Path, cluster: Json | None) -> Json:
    """What attempt.json says; `spec` has its references replaced already, `cluster` is None for serverless. Raises TaskRefused."""
    if reason := mounts.available():
        raise TaskRefused(refused("FEATURE_DISABLED", f"The emulator cannot run tasks: {reason}", "INTERNAL_ERROR"))
    argv, own = _program(place, run, spec, folder, libraries)
    environment = {**_variables_of(place, run["workspace"], run["user"], folder, libraries, cluster), **own}
    binds = binds_of(place, run["workspace"])
    return {
        "setup": [install_command(libraries, wanted, binds) for wanted in _libraries(run, spec)],
        "setup_env": installing(),
        "argv": mounts.command(binds, argv),
        "env": {"DATABRICKS_RUNTIME_VERSION": _serverless(run, spec), **environment},
        "folder": str(folder / "work"),
        "timeout": float(spec["timeout_seconds"]) if spec.get("timeout_seconds") else None,
        "preempt": None,
        "grace": GRACE,
    }


def context(place: Place, workspace: str, user: str, folder: Path, libraries: Path, cluster: Json) -> Json:
    """What attempt.json says for an execution context on a cluster. Raises TaskRefused."""
    if reason := mounts.available():
        raise TaskRefused(refused("FEATURE_DISABLED", f"The emulator cannot run commands: {reason}", "INTERNAL_ERROR"))
    return {
        "setup": [],
        "setup_env": {},
        "argv": mounts.command(binds_of(place, workspace), [sys.executable, str(PROGRAMS / "repl.py"), str(folder)]),
        "env": _variables_of(place, workspace, user, folder, libraries, cluster),
        "folder": str(folder / "work"),
        "timeout": None,
        "preempt": None,
        "grace": GRACE,
    }


def binds_of(place: Place, workspace: str) -> list[tuple[Path, str]]:
    """The folders that programs of a workspace see, and where."""
    return [*place.files.mounts(workspace), (place.dbfs(workspace), "/dbfs")]


# ---------------------------------------------------------------- programs


def _program(place: Place, run: Json, spec: Json, folder: Path, libraries: Path) -> tuple[list[str], dict[str, str]]:
    if "spark_python_task" in spec:
        task = spec["spark_python_task"]
        return [sys.executable, _python_file(place, run, task["python_file"], folder), *task.get("parameters", ())], {}
    if "python_wheel_task" in spec:
        task = spec["python_wheel_task"]
        named = [f"--{name}={value}" for name, value in task.get("named_parameters", {}).items()]
        return [
            sys.executable,
            str(PROGRAMS / "wheel.py"),
            task["package_name"],
            task["entry_point"],
            *task.get("parameters", ()),
            *named,
        ], {}
    task = spec["notebook_task"]
    own = {
        "NOTEBOOK_PARAMETERS": json.dumps(task.get("base_parameters", {})),
        "NOTEBOOK_RESULT": str(folder / "notebook_result"),
        "NOTEBOOK_INSTALL": json.dumps([[sys.executable, str(PROGRAMS / "install.py"), str(libraries)], installing()]),
    }
    return [sys.executable, str(PROGRAMS / "notebook.py"), _notebook(place, run, task["notebook_path"])], own


def _python_file(place: Place, run: Json, named: str, folder: Path) -> str:
    """The path of the file as the program sees it. One in the object store is fetched."""
    missing = refused("RESOURCE_NOT_FOUND", f"Cannot read the python file {named}. {ACCESS.format(user=run['user'])}")
    if named.startswith("dbfs:") and not named.startswith("dbfs:/Volumes/"):
        path = "/dbfs/" + posixpath.normpath(named.removeprefix("dbfs:")).lstrip("/")
        if not (place.dbfs(run["workspace"]) / path.removeprefix("/dbfs/")).is_file():
            raise TaskRefused(missing)
        return path
    if named.startswith("s3:"):
        bucket, _, key = named.removeprefix("s3:").lstrip("/").partition("/")
        found = place.s3.read(bucket, key)
        if found is None:
            raise TaskRefused(missing)
        folder.mkdir(parents=True, exist_ok=True)
        fetched = folder / Path(key).name
        fetched.write_bytes(found)
        return str(fetched)
    path = workspace_path(named)
    if not _is_there(place, run, path):
        raise TaskRefused(missing)
    return path


def _notebook(place: Place, run: Json, named: str) -> str:
    """Where its source is: notebooks lie under their own name, and may be asked for with `.py` behind it."""
    path = workspace_path(named)
    for each in (path, path.removesuffix(".py")):
        if not _is_there(place, run, each):
            continue
        notebook = place.workspace_objects.notebook(run["workspace"], place.files.path_of(run["workspace"], each))
        if notebook is not None and notebook.language == "PYTHON":
            return each
        if notebook is not None:
            said = f"The emulator runs Python notebooks only; {named} is in {notebook.language}."
            raise TaskRefused(refused("FEATURE_DISABLED", said))
    said = f'Unable to access the notebook "{named}" in the workspace. {ACCESS.format(user=run["user"])}'
    raise TaskRefused(refused("RESOURCE_NOT_FOUND", said))


def keep_notebook(place: Place, run: Json, named: str, folder: Path) -> None:
    """Its source as it is now, for an export. Raises TaskRefused."""
    source = place.files.path_of(run["workspace"], _notebook(place, run, named))
    shutil.copyfile(source, folder / "notebook_source")


def workspace_path(named: str) -> str:
    """A path as the file system has it: `/Users/a` is `/Workspace/Users/a`.

    >>> workspace_path("/Users/a/b.py"), workspace_path("dbfs:/Volumes/c/s/v/b.py"), workspace_path("/Workspace/b.py")
    ('/Workspace/Users/a/b.py', '/Volumes/c/s/v/b.py', '/Workspace/b.py')
    """
    path = "/" + named.removeprefix("dbfs:").lstrip("/")
    return path if path.startswith(("/Workspace/", "/Volumes/")) else f"/Workspace{path}"


def _is_there(place: Place, run: Json, path: str) -> bool:
    try:
        return place.files.path_of(run["workspace"], path).is_file()
    except OutsideError:
        return False


# ---------------------------------------------------------------- surroundings


def _surroundings(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    binaries = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    return {**kept, "PATH": binaries, "HOME": str(home), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _cluster_variables(place: Place, workspace: str, cluster: Json | None) -> dict[str, str]:
    """Those of a cluster's spec, with the secrets that they name. Raises TaskRefused; its words but the first sentence are a guess."""
    if cluster is None:
        return {}
    try:
        return place.secrets.resolved(workspace, cluster["creator_user_name"], cluster.get("spark_env_vars") or {})
    except ApiError as error:
        said = f"Cluster '{cluster['cluster_id']}' was terminated. Reason: SECRET_RESOLUTION_ERROR (CLIENT_ERROR). {error.message}"
        raise TaskRefused(refused("CLUSTER_ERROR", said)) from error


def _variables_of(place: Place, workspace: str, user: str, folder: Path, libraries: Path, cluster: Json | None) -> dict[str, str]:
    """What a program of this user finds on a cluster, or without one."""
    version = {"DATABRICKS_RUNTIME_VERSION": runtime(cluster["spark_version"])} if cluster else {}
    return {
        **_surroundings(folder / "work"),
        **place.environment_of(workspace, user),
        **version,
        "PYTHONPATH": str(libraries),
        **_cluster_variables(place, workspace, cluster),
    }


def _serverless(run: Json, spec: Json) -> str:
    """The runtime of a task that has no cluster."""
    environment = _environment(run, spec)
    return SERVERLESS.format(version=environment.get("environment_version") or environment.get("client") or "4")


def _environment(run: Json, spec: Json) -> Json:
    """The spec of a serverless task's environment."""
    for each in run["settings"].get("environments", ()):
        if each["environment_key"] == spec.get("environment_key"):
            found: Json = each.get("spec") or {}
            return found
    return {}


# ---------------------------------------------------------------- libraries


def _libraries(run: Json, spec: Json) -> Iterator[list[str]]:
    """What is to be installed: the arguments of one installation each."""
    if wanted := [workspace_requirement(each) for each in _environment(run, spec).get("dependencies") or ()]:
        yield wanted
    for library in spec.get("libraries", ()):
        yield arguments_of(library)


def arguments_of(library: Mapping[str, Any]) -> list[str]:
    """The arguments of install.py for one library of a cluster.

    >>> arguments_of({"pypi": {"package": "tiny==1"}}), arguments_of({"requirements": "/Workspace/r.txt"})
    (['tiny==1'], ['-r', '/Workspace/r.txt'])
    """
    if "pypi" in library:
        repository = library["pypi"].get("repo")
        return [*(["--index", repository] if repository else []), library["pypi"]["package"]]
    if "requirements" in library:
        return ["-r", workspace_path(library["requirements"])]
    return [workspace_path(library["whl"])]


def workspace_requirement(text: str) -> str:
    """A line of an environment's dependencies: a file of the workspace under its path, all else as it is.

    >>> workspace_requirement("-r /Workspace/r.txt"), workspace_requirement("/Users/a/t-1-py3-none-any.whl"), workspace_requirement("tiny")
    ('-r /Workspace/r.txt', '/Workspace/Users/a/t-1-py3-none-any.whl', 'tiny')
    """
    return workspace_path(text) if text.startswith(("/", "dbfs:")) else text


def installing() -> dict[str, str]:
    """What installations find in their environment: the emulator's own ways to package indexes, not the way to the emulator."""
    prefixes = ("UV_", "PIP_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "XDG_")
    chosen = {name: value for name, value in os.environ.items() if name.upper().startswith(prefixes)}
    return {**_surroundings(Path.home()), **chosen}


def install_command(libraries: Path, wanted: list[str], binds: list[tuple[Path, str]]) -> list[str]:
    """What installs these into a folder, with the workspace's own files in sight."""
    return mounts.command(binds, [sys.executable, str(PROGRAMS / "install.py"), str(libraries), *wanted])


def installation_failed(folder: Path, cluster_id: str, libraries: list[Any]) -> Json:
    """How an attempt ended whose libraries could not be installed; the words are seen in public messages."""
    log = folder / "setup.log"
    said = log.read_text(encoding="utf-8", errors="replace").strip() if log.exists() else ""
    where = f"the driver node of cluster {cluster_id}" if cluster_id else "the serverless environment"
    message = (
        f"Library installation failed for library due to user error for {json.dumps(libraries)}. Error messages:\n"
        f"Library installation attempted on {where} and failed. Please refer to the following error message to fix the library "
        f"or contact Databricks support. Error message: {said[-2000:]}"
    )
    return refused("LIBRARY_INSTALLATION_ERROR", message)


def clear(folder: Path) -> None:
    """Throw away what an attempt kept."""
    shutil.rmtree(folder, ignore_errors=True)
