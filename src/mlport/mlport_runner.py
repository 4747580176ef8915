"""Run one job as its manifest says: stage inputs, run the program, keep what it left, and write result.json.

This file is every job's entrypoint on every provider, so it stands alone: standard library only, Python 3.8 or newer.

    python mlport_runner.py MANIFEST.json        # or $MLPORT_MANIFEST: a path, or the JSON itself

Manifest, version 1 (`?` marks what may be left out or null):

    version       1
    job           the job's id; the program sees it as MLPORT_JOB_ID
    name          the job's name
    source?       path or URL of the bundle (tar.gz) that becomes the working directory
    source_digest?  SHA-256, hex, of the bundle's uncompressed tar
    workdir       the folder to unpack into and run in; made if absent
    files?        {relative path: text or JSON} to write into the working directory after unpacking
    entrypoint    the command, a non-empty list; `python` means the interpreter that runs this file
    params?       {key: scalar}, appended as `--key value` (true and false in lower case), and JSON in MLPORT_PARAMS
    env?          {name: text} for the program
    inputs?       {name: {uri, path?, kind?, digest?, bytes?}}; the program finds each at MLPORT_INPUT_<NAME>.
                  A path or file:// URL is used where it lies; http(s) is downloaded to `path`; any other scheme is
                  fetched by `transfer`. With kind "sha256", `digest` is checked before the program starts: of a file
                  its content's SHA-256, of a folder its tree digest (below). With kind "etag" or "generation", what is
                  fetched must be that version: the server's ETag is compared, or `transfer` is told to
    outputs?      {name: {path, uri?}}; the program writes to MLPORT_OUTPUT_<NAME>; uploaded where `uri` is set
    checkpoint?   {path, uri?, interval?}: MLPORT_CHECKPOINT_DIR, restored from and synced to `uri` every `interval` seconds
    metrics?      file that the program appends JSON lines to (MLPORT_METRICS): {"name", "value", "step"?, "time"?} or {"auc": 0.7}
    result        where to write result.json
    started?      a file that is made once the runner has begun
    requirements?, installer?   packages, and the command that installs them (default: this interpreter's pip)
    node?         {rank, count, main_address, main_port}
    timeout?, grace?   seconds until the program is ended; seconds between SIGTERM and SIGKILL (10)
    transfer?     command prefix; `transfer SOURCE DESTINATION` copies a file or folder between a local path and a URL and
                  exits 0, or 3 when the source does not exist. `--expect KIND:DIGEST` may come before SOURCE: it then exits
                  4, and leaves nothing, when the object is not that version

result.json, version 1: state (SUCCEEDED, FAILED, CANCELLED), cause, reason, exit_code (null if none ran to its end), started, ended,
metrics {name: last value}, outputs {name: {uri, digest, bytes, files}}, usage {wall_seconds, cpu_seconds, max_rss_bytes},
resolved {python, executable}, warnings. Exit status: 0 succeeded, 1 failed, 143 cancelled by SIGTERM.

Tree digest: SHA-256, hex, over lines `<relative posix path> NUL <file's SHA-256, hex> LF`, sorted by path, bytewise.

A supervisor may pass a pipe's number in MLPORT_GATE: the runner begins when a byte comes, and leaves if the pipe closes before.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Json = dict[str, Any]

CHUNK = 1 << 20
MISSING_SOURCE = 3  # the transfer command's status for "there is no such source"
OTHER_VERSION = 4  # and for "the source is not the version that was expected"
DOWNLOAD_ATTEMPTS = 3
NETWORK_TIMEOUT = 60.0
RESERVED = 1 << 16  # bytes kept free on the disk for result.json
DEFAULT_GRACE = 10.0
EXIT = {"SUCCEEDED": 0, "FAILED": 1, "CANCELLED": 143}


class RefusedError(Exception):
    """The job fails for this reason; the program was not started, or what it left cannot be kept."""

    cause = ""


class ChangedError(RefusedError):
    """An input is not what it was when the plan was made."""

    cause = "input changed"


class InstallError(RefusedError):
    """The requirements could not be installed."""

    cause = "environment"


class Ended(NamedTuple):
    """How it ended. `cause` is a word for programs: exit, timeout, cancelled, out of memory, input changed, environment, or empty."""

    state: str
    cause: str
    reason: str


class StoppedError(Exception):
    """SIGTERM came while no program was running."""


# ---------------------------------------------------------------- manifest


def load_manifest(argument: str | None) -> Json:
    """The manifest from a path, or from MLPORT_MANIFEST (a path or the JSON itself)."""
    given = argument or os.environ.get("MLPORT_MANIFEST")
    if not given:
        raise RefusedError("no manifest: give its path as the argument, or set MLPORT_MANIFEST to a path or to the JSON itself")
    try:
        if given.lstrip().startswith("{"):
            found = json.loads(given)
        else:
            with open(given, encoding="utf-8") as stream:
                found = json.load(stream)
    except (OSError, ValueError) as error:
        raise RefusedError(f"the manifest cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise RefusedError(f"the manifest is {type(found).__name__}, not an object")
    return found


FIELDS: dict[str, tuple[type, ...]] = {
    "version": (int,),
    "job": (str,),
    "name": (str,),
    "source": (str, type(None)),
    "source_digest": (str, type(None)),
    "workdir": (str,),
    "files": (dict, type(None)),
    "entrypoint": (list,),
    "params": (dict, type(None)),
    "env": (dict, type(None)),
    "inputs": (dict, type(None)),
    "outputs": (dict, type(None)),
    "checkpoint": (dict, type(None)),
    "metrics": (str, type(None)),
    "result": (str,),
    "started": (str, type(None)),
    "requirements": (list, type(None)),
    "installer": (list, type(None)),
    "node": (dict, type(None)),
    "timeout": (int, float, type(None)),
    "grace": (int, float, type(None)),
    "transfer": (list, type(None)),
}
REQUIRED = ("version", "job", "name", "workdir", "entrypoint", "result")


def check_manifest(manifest: Json) -> None:
    """Raise RefusedError that names every field that is missing, unknown or wrong."""
    problems = [f"{field}: is required" for field in REQUIRED if field not in manifest]
    problems += ["{}: unknown field; valid: {}".format(field, ", ".join(FIELDS)) for field in manifest if field not in FIELDS]
    problems += [f"{key}: got {value!r}" for key, value in manifest.items() if key in FIELDS and not _is(value, FIELDS[key])]
    problems += problems or list(_problems_inside(manifest))
    if problems:
        raise RefusedError("the manifest is wrong: {}".format("; ".join(problems)))


def _is(value: object, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _problems_inside(manifest: Json) -> Iterator[str]:
    if manifest["version"] != 1:
        yield "version: got {!r}, this runner reads 1".format(manifest["version"])
    for field in ("entrypoint", "requirements", "installer", "transfer"):
        if not all(isinstance(word, str) for word in manifest.get(field) or ()):
            yield f"{field}: must hold texts, got {manifest[field]!r}"
    if not manifest["entrypoint"]:
        yield "entrypoint: is empty"
    for field, needed in (("inputs", "uri"), ("outputs", "path")):
        for name, entry in (manifest.get(field) or {}).items():
            if not isinstance(entry, dict) or not isinstance(entry.get(needed), str):
                yield f"{field}.{name}.{needed}: a text is required, got {entry!r}"
    yield from (
        f"env.{name}: must be a text, got {value!r}" for name, value in (manifest.get("env") or {}).items() if not isinstance(value, str)
    )
    if manifest.get("checkpoint") and not isinstance(manifest["checkpoint"].get("path"), str):
        yield "checkpoint.path: a text is required, got {!r}".format(manifest["checkpoint"])


# ---------------------------------------------------------------- digests


def file_digest(path: str) -> str:
    """SHA-256 of a file's content, hex."""
    with open(path, "rb") as stream:
        return _digest_of(stream)


def _digest_of(stream: BinaryIO) -> str:
    import hashlib

    digest = hashlib.sha256()
    for chunk in iter(lambda: stream.read(CHUNK), b""):
        digest.update(chunk)
    return digest.hexdigest()


def tree_files(path: str) -> Iterator[tuple[bytes, str]]:
    """Each regular file below `path` with its relative posix path; a file counts as a folder that holds it."""
    if os.path.isfile(path):
        yield os.fsencode(os.path.basename(path)), path
        return
    for folder, folders, names in os.walk(path):
        for name in folders + names:
            if os.path.islink(os.path.join(folder, name)):
                raise RefusedError(
                    f"{os.path.join(folder, name)} is a symbolic link; its content may lie elsewhere: copy the file in its place"
                )
        for name in names:
            file = os.path.join(folder, name)
            if os.path.isfile(file):
                yield os.fsencode(os.path.relpath(file, path).replace(os.sep, "/")), file


def tree_facts(path: str) -> Json:
    """Digest, bytes and number of files of a folder, as `mlport.bundle.tree_digest` has it."""
    import hashlib

    files = sorted(tree_files(path))
    lines = b"".join(b"%s\0%s\n" % (name, file_digest(file).encode()) for name, file in files)
    return {"digest": hashlib.sha256(lines).hexdigest(), "bytes": sum(os.path.getsize(file) for _, file in files), "files": len(files)}


# ---------------------------------------------------------------- programs


class Program:
    """One child in a session of its own; stopping it means SIGTERM, grace, and SIGKILL of its whole group."""

    def __init__(self, command: list[str], env: dict[str, str], cwd: str | None, grace: float, prefix: str = "") -> None:
        self.grace = grace
        self.stopped_by: str | None = None
        self.was_killed = False
        self.code = 0
        self._over = False
        self._timers: list[threading.Timer] = []
        output = subprocess.PIPE if prefix else None
        self._child = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if prefix else None,
            start_new_session=True,
        )
        self._pump = threading.Thread(target=self._copy_lines, args=(prefix.encode(),), daemon=True) if prefix else None
        if self._pump:
            self._pump.start()

    def _copy_lines(self, prefix: bytes) -> None:
        assert self._child.stdout is not None  # noqa: S101 - only started with a pipe
        for line in self._child.stdout:
            os.write(1, prefix + line)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call once after so many seconds, unless the program has ended by then."""
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def stop(self, why: str) -> None:
        """Ask for the end, and insist after the grace."""
        if self.stopped_by is None:
            self.stopped_by = why
            self._signal(signal.SIGTERM)
            self.after(self.grace, self._kill)

    def _kill(self) -> None:
        self.was_killed = self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> bool:
        """Whether there was anyone in the group to get the signal."""
        if self._over:
            return False
        try:
            os.killpg(self._child.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def wait(self) -> None:
        """Wait until nobody of its group is left; `code` is its exit code then, negative for a signal."""
        self.code = self._child.wait()
        while self.stopped_by and self._signal(0) and not self.was_killed:
            time.sleep(0.01)  # its children have the rest of the grace
        self._signal(signal.SIGKILL)
        self._over = True
        for timer in self._timers:
            timer.cancel()
        if self._pump:
            self._pump.join(5.0)
            assert self._child.stdout is not None  # noqa: S101 - only started with a pipe
            self._child.stdout.close()


class Stop:
    """What SIGTERM does: it goes to the program that runs, or ends the preparations."""

    def __init__(self) -> None:
        self.requested = False
        self._program: Program | None = None
        self._starting = False

    def __call__(self, number: int, frame: Any) -> None:
        self.requested = True
        if self._program:
            self._program.stop("SIGTERM")
        elif not self._starting:
            raise StoppedError

    def run(self, start: Callable[[], Program], timeout: float | None = None) -> Program:
        """Start a program that SIGTERM reaches, and return it when it has ended."""
        self._starting = True
        try:
            program = self._program = start()
        finally:
            self._starting = False
        try:
            if self.requested:
                program.stop("SIGTERM")
            if timeout is not None:
                program.after(timeout, lambda: program.stop("timeout"))
            program.wait()
            return program
        finally:
            self._program = None

    def call(self, command: list[str], env: dict[str, str], grace: float) -> int:
        """Run a helper to its end; its exit code. Raises StoppedError when SIGTERM ended it."""
        program = self.run(lambda: Program(command, env, None, grace))
        if self.requested:
            raise StoppedError
        return program.code


# ---------------------------------------------------------------- one run


class Run:
    """One attempt on one node, from manifest to result."""

    def __init__(self, manifest: Json, stop: Stop) -> None:
        self.manifest = manifest
        self.stop = stop
        self.workdir = os.path.abspath(manifest["workdir"])
        self.grace = float(DEFAULT_GRACE if manifest.get("grace") is None else manifest["grace"])
        self.node = {"rank": 0, "count": 1, "main_address": "127.0.0.1", "main_port": 29500, **(manifest.get("node") or {})}
        self.places: dict[str, str] = {}
        self.warnings: list[str] = []
        self.exit_code: int | None = None

    def perform(self) -> tuple[Ended, Json]:
        """How it ended, and the outputs. Raises StoppedError when SIGTERM comes outside the program."""
        try:
            self.prepare()
            ended = self.run_program()
            return ended, self.keep_outputs() if ended.state == "SUCCEEDED" else {}
        except RefusedError as error:
            return Ended("FAILED", error.cause, str(error)), {}
        except OSError as error:
            return Ended("FAILED", "", f"{type(error).__name__}: {error}"), {}

    # -- before the program

    def prepare(self) -> None:
        """Everything that must be in place before the program starts."""
        os.makedirs(self.workdir, exist_ok=True)
        self.places = {name: self.stage(name, entry) for name, entry in (self.manifest.get("inputs") or {}).items()}
        if self.manifest.get("source"):
            self.unpack_source()
        for name, content in (self.manifest.get("files") or {}).items():
            self.write_file(name, content)
        for entry in (self.manifest.get("outputs") or {}).values():
            os.makedirs(entry["path"], exist_ok=True)
        if self.manifest.get("metrics"):
            os.makedirs(os.path.dirname(os.path.abspath(self.manifest["metrics"])), exist_ok=True)
        self.restore_checkpoint()
        self.install()

    def stage(self, name: str, entry: Json) -> str:
        """The local path of an input, fetched if it is remote, and verified."""
        where = local_path(entry["uri"])
        if where is None:
            default = os.path.join(self.workdir + ".inputs", name, os.path.basename(entry["uri"].split("?")[0].rstrip("/")) or name)
            where = os.path.abspath(entry.get("path") or default)
            self.fetch(entry["uri"], where, what=f"input {name!r}", version=version_of(entry))
        elif not os.path.exists(where):
            raise RefusedError(f"input {name!r}: {where} does not exist")
        if entry.get("kind") == "sha256" and entry.get("digest"):
            found = file_digest(where) if os.path.isfile(where) else tree_facts(where)["digest"]
            if found != entry["digest"]:
                raise ChangedError(
                    "input {!r} changed since the plan was made: expected {} found {} ({})".format(name, entry["digest"], found, where)
                )
        return where

    def fetch(self, uri: str, destination: str, what: str, version: str | None = None) -> None:
        os.makedirs(os.path.dirname(destination), exist_ok=True)
        if uri.split("://", maxsplit=1)[0] in ("http", "https"):
            download(uri, destination, what, version)
            return
        status = self.transfer(uri, destination, ["--expect", version] if version else [])
        if status == OTHER_VERSION:
            raise ChangedError(f"{what} changed since the plan was made: {uri} is no longer {version}")
        if status != 0:
            raise RefusedError(f"{what}: {uri} could not be fetched; the log says why")

    def transfer(self, source: str, destination: str, options: list[str] | None = None) -> int:
        """Copy between a local path and a URL; the transfer command's exit code."""
        if local_path(source) is not None and local_path(destination) is not None:
            return copy_local(str(local_path(source)), str(local_path(destination)))
        command = self.manifest.get("transfer")
        if not command:
            raise RefusedError(f"{source} -> {destination}: the manifest has no transfer command for this kind of address")
        return self.stop.call([*command, *(options or []), source, destination], dict(os.environ), self.grace)

    def unpack_source(self) -> None:
        source = self.manifest["source"]
        archive = local_path(source)
        if archive is None:
            archive = self.workdir + ".tar.gz"
            self.fetch(source, archive, what="source")
        unpack(archive, self.workdir, self.manifest.get("source_digest"))

    def write_file(self, name: str, content: Any) -> None:
        path = os.path.join(self.workdir, name)
        if os.path.isabs(name) or not os.path.normpath(path).startswith(self.workdir + os.sep):
            raise RefusedError(f"files: {name!r} leaves the working directory")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(content if isinstance(content, str) else json.dumps(content))

    def restore_checkpoint(self) -> None:
        checkpoint = self.manifest.get("checkpoint")
        if not checkpoint:
            return
        if checkpoint.get("uri") and not (os.path.isdir(checkpoint["path"]) and os.listdir(checkpoint["path"])):
            status = self.transfer(checkpoint["uri"], checkpoint["path"])
            if status not in (0, MISSING_SOURCE):
                raise RefusedError("the checkpoint at {} could not be restored; the log says why".format(checkpoint["uri"]))
        os.makedirs(checkpoint["path"], exist_ok=True)

    def install(self) -> None:
        requirements = self.manifest.get("requirements")
        if not requirements:
            return
        installer = self.manifest.get("installer") or ["python", "-m", "pip", "install"]
        code = self.stop.call([*with_interpreter(installer), *requirements], self.environment(), self.grace)
        if code != 0:
            raise InstallError(f"the requirements could not be installed ({describe_exit(code)}); the log says why")

    # -- the program

    def environment(self) -> dict[str, str]:
        """The program's environment: what we were given, the job's own, and the MLPORT_ variables."""
        env = {key: value for key, value in os.environ.items() if key not in ("MLPORT_MANIFEST", "MLPORT_GATE", "MLPORT_FAULT")}
        env.update(self.manifest.get("env") or {})
        env["PATH"] = os.pathsep.join(part for part in (os.path.dirname(sys.executable), env.get("PATH") or os.defpath) if part)
        env.setdefault("PYTHONUNBUFFERED", "1")  # or a log would show nothing for minutes
        env.update(
            MLPORT_JOB_ID=self.manifest["job"],
            MLPORT_PARAMS=json.dumps(self.manifest.get("params") or {}),
            MLPORT_NUM_NODES=str(self.node["count"]),
            MLPORT_NODE_RANK=str(self.node["rank"]),
            MLPORT_MAIN_ADDRESS=str(self.node["main_address"]),
            MLPORT_MAIN_PORT=str(self.node["main_port"]),
        )
        env.update({f"MLPORT_INPUT_{name.upper()}": path for name, path in self.places.items()})
        env.update(
            {f"MLPORT_OUTPUT_{name.upper()}": os.path.abspath(o["path"]) for name, o in (self.manifest.get("outputs") or {}).items()}
        )
        if self.manifest.get("checkpoint"):
            env["MLPORT_CHECKPOINT_DIR"] = os.path.abspath(self.manifest["checkpoint"]["path"])
        if self.manifest.get("metrics"):
            env["MLPORT_METRICS"] = os.path.abspath(self.manifest["metrics"])
        return env

    def run_program(self) -> Ended:
        """Run the entrypoint to its end."""
        env = self.environment()
        entrypoint = with_interpreter(self.manifest["entrypoint"])
        self.refuse_absent(entrypoint, env)
        command = [*entrypoint, *arguments(self.manifest.get("params") or {})]
        prefix = "[{}] ".format(self.node["rank"]) if self.node["count"] > 1 else ""
        syncing = CheckpointSync(self.manifest, self.warnings)
        try:
            program = self.stop.run(lambda: Program(command, env, self.workdir, self.grace, prefix), self.manifest.get("timeout"))
        finally:
            syncing.finish()
        self.exit_code = program.code
        return verdict(program, self.manifest.get("timeout"))

    def refuse_absent(self, entrypoint: list[str], env: dict[str, str]) -> None:
        """Refuse a command or a Python script that is not there, and say what is."""
        command = entrypoint[0]
        place = os.path.join(self.workdir, command) if os.sep in command else shutil.which(command, path=env["PATH"])
        if place is None or not os.path.exists(place):
            raise RefusedError(f"entrypoint: {command!r} does not exist; {self.folder_holds()}")
        if not os.access(place, os.X_OK):
            raise RefusedError(f"entrypoint: {command!r} is not executable (chmod +x); {self.folder_holds()}")
        script = entrypoint[1] if command == sys.executable and len(entrypoint) > 1 else "-"
        if not script.startswith("-") and not os.path.exists(os.path.join(self.workdir, script)):
            raise RefusedError(f"entrypoint: {script!r} does not exist; {self.folder_holds()}")

    def folder_holds(self) -> str:
        names = sorted(os.listdir(self.workdir))
        shown = ", ".join(names[:20]) + (f", and {len(names) - 20} more" if len(names) > 20 else "")
        return "the working directory holds: {}".format(shown or "nothing")

    # -- after the program

    def keep_outputs(self) -> Json:
        """Measure each output and upload it where it has a destination."""
        kept = {}
        for name, entry in (self.manifest.get("outputs") or {}).items():
            path = os.path.abspath(entry["path"])
            facts = tree_facts(path)
            uri = entry.get("uri") or path
            if local_path(uri) != path and (holds_files(uri) or self.transfer(path, uri) != 0):
                raise RefusedError(f"output {name!r} could not be copied to {uri}: it holds files already, or the log says why")
            kept[name] = {"uri": uri, **facts}
        return kept


class CheckpointSync:
    """Copies the checkpoint folder to its address now and then, and a last time at the end."""

    def __init__(self, manifest: Json, warnings: list[str]) -> None:
        checkpoint = manifest.get("checkpoint") or {}
        self._path, self._uri = checkpoint.get("path"), checkpoint.get("uri")
        self._transfer = manifest.get("transfer") or []
        self._interval = float(checkpoint.get("interval") or 60)
        self._warnings = warnings
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True) if self._uri else None
        if self._thread:
            self._thread.start()

    def _loop(self) -> None:
        while not self._ended.wait(self._interval):
            self._sync()

    def _sync(self) -> None:
        """Copy; a failure is reported and does not end the job, for the next sync may succeed."""
        assert self._path is not None  # noqa: S101 - a uri comes with a path
        assert self._uri is not None  # noqa: S101
        try:
            local = local_path(self._uri)
            if local is not None:
                copy_local(self._path, local)
            else:
                subprocess.run([*self._transfer, self._path, self._uri], check=True, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError) as error:
            self._warnings.append(f"the checkpoint could not be synced to {self._uri}: {error}")

    def finish(self) -> None:
        if self._thread:
            self._ended.set()
            self._thread.join()
            self._sync()


def verdict(program: Program, timeout: float | None) -> Ended:
    """How a program has ended."""
    insisted = "; it did not stop at SIGTERM and was killed" if program.was_killed else ""
    if program.stopped_by == "timeout":
        return Ended("FAILED", "timeout", f"timed out after {float(timeout or 0):g} s{insisted}")
    if program.stopped_by:
        return Ended("CANCELLED", "cancelled", f"stopped by SIGTERM{insisted}")
    if program.code == 0:
        return Ended("SUCCEEDED", "", "")
    return Ended("FAILED", "out of memory" if program.code == -signal.SIGKILL else "exit", describe_exit(program.code))


def describe_exit(code: int) -> str:
    """An exit code in words.

    >>> describe_exit(3), describe_exit(-9)
    ('exit code 3', 'killed by SIGKILL (out of memory?)')
    """
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return "killed by {}{}".format(name, " (out of memory?)" if code == -9 else "")


def with_interpreter(command: list[str]) -> list[str]:
    """The command with `python` replaced by the interpreter that runs this file."""
    return [sys.executable, *command[1:]] if command[0] in ("python", "python3") else list(command)


def arguments(params: Json) -> list[str]:
    """Params as command-line words.

    >>> arguments({"depth": 6, "fast": True, "name": "a b"})
    ['--depth', '6', '--fast', 'true', '--name', 'a b']
    """
    return [word for key, value in params.items() for word in ("--" + key, json.dumps(value) if isinstance(value, bool) else str(value))]


# ---------------------------------------------------------------- moving files


def local_path(uri: str) -> str | None:
    """The path that a path or file:// URL stands for, None for any other scheme."""
    if uri.startswith("file://"):
        from urllib.parse import unquote, urlsplit

        return unquote(urlsplit(uri).path)
    return None if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", uri) else os.path.abspath(uri)


def copy_local(source: str, destination: str) -> int:
    """Copy a file or folder so that it appears whole or not at all; MISSING_SOURCE if there is none."""
    if not os.path.exists(source):
        return MISSING_SOURCE
    os.makedirs(os.path.dirname(destination), exist_ok=True)
    part, old = destination + ".part", destination + ".old"
    for leftover in (part, old):
        remove(leftover)
    if os.path.isdir(source):
        shutil.copytree(source, part, symlinks=True)
    else:
        shutil.copy2(source, part)
    if os.path.isdir(destination):
        os.rename(destination, old)
    os.replace(part, destination)
    remove(old)
    return 0


def holds_files(uri: str) -> bool:
    """Whether a local destination holds files that a copy would replace."""
    path = local_path(uri)
    return path is not None and os.path.exists(path) and (not os.path.isdir(path) or bool(os.listdir(path)))


def remove(path: str) -> None:
    """Remove a file or folder, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def version_of(entry: Json) -> str | None:
    """The version that an input must have where the server tells versions: `etag:...` or `generation:...`."""
    is_told = entry.get("kind") in ("etag", "generation") and entry.get("digest")
    return "{}:{}".format(entry["kind"], entry["digest"]) if is_told else None


def download(url: str, destination: str, what: str, version: str | None = None) -> None:
    """Fetch over HTTP to a file that appears only when whole; connection failures are tried again."""
    from http.client import HTTPException
    from urllib.error import HTTPError

    for attempt in range(1, DOWNLOAD_ATTEMPTS + 1):
        try:
            _download_once(url, destination, what, version)
            return
        except (OSError, HTTPException) as error:  # noqa: PERF203 - the point is to try again
            refused = isinstance(error, HTTPError) and error.code < 500
            if isinstance(error, HTTPError):
                error.close()
            if refused or attempt == DOWNLOAD_ATTEMPTS:
                raise RefusedError(f"{what}: {url} could not be fetched: {error}") from error
            time.sleep(0.5 * attempt)


def _download_once(url: str, destination: str, what: str, version: str | None) -> None:
    from urllib.request import Request, urlopen

    request = Request(url, headers={"User-Agent": "mlport"})  # noqa: S310 - only called for http and https
    with urlopen(request, timeout=NETWORK_TIMEOUT) as answer, open(destination + ".part", "wb") as target:  # noqa: S310
        found = "etag:{}".format((answer.headers.get("ETag") or "").strip('"'))
        if version and found != version:
            raise ChangedError(f"{what} changed since the plan was made: {url} is no longer {version} but {found}")
        shutil.copyfileobj(answer, target, CHUNK)
        size, promised = target.tell(), answer.headers.get("Content-Length")
    if promised is not None and int(promised) != size:
        raise OSError(f"the connection ended after {size} of {promised} bytes")
    os.replace(destination + ".part", destination)


def unpack(archive: str, destination: str, digest: str | None) -> None:
    """Unpack a bundle after checking its digest and that nothing in it can land outside `destination`."""
    import gzip
    import tarfile
    import zlib

    try:
        if digest:
            with gzip.open(archive, "rb") as stream:
                found = _digest_of(stream)  # type: ignore[arg-type]
            if found != digest:
                raise RefusedError(f"source: the bundle {archive} is not the one planned: expected {digest} found {found}")
        with tarfile.open(archive, "r:gz") as tar:
            members = tar.getmembers()
            refuse_escapes(members)
            if hasattr(tarfile, "data_filter"):
                tar.extractall(destination, members=members, filter="data")
            else:
                tar.extractall(destination, members=members)  # noqa: S202 - checked above
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise RefusedError(f"source: {archive} cannot be unpacked: {error}") from error


def refuse_escapes(members: list[Any]) -> None:
    """Refuse devices, absolute names, `..`, links that leave the folder, and names that pass through a link."""
    links = {_inside(member.name) for member in members if member.issym()}
    for member in members:
        name = _inside(member.name)
        if name is None or not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            raise RefusedError(f"source: {member.name!r} in the bundle is absolute, leaves the folder, or is a device")
        target = _link_target(member)
        if target is None or any(parent in links for path in (name, target) for parent in _parents(path)):
            raise RefusedError(f"source: the link {member.name!r} -> {member.linkname!r} in the bundle leaves the folder")


def _link_target(member: Any) -> str | None:
    """Where a link leads inside the folder, None when it leads out; the name itself for what is no link."""
    if member.islnk():
        return _inside(member.linkname)
    if member.issym():
        return None if os.path.isabs(member.linkname) else _inside(os.path.join(os.path.dirname(member.name), member.linkname))
    return _inside(member.name)


def _inside(name: str) -> str | None:
    path = os.path.normpath(name)
    return None if os.path.isabs(name) or path == ".." or path.startswith(".." + os.sep) else path


def _parents(path: str) -> list[str]:
    parts = path.split(os.sep)
    return [os.sep.join(parts[:count]) for count in range(1, len(parts))]


# ---------------------------------------------------------------- results


def read_metrics(path: str | None, warnings: list[str]) -> dict[str, float]:
    """The last value of each metric; lines that are none are counted in `warnings`."""
    if not path or not os.path.exists(path):
        return {}
    found: dict[str, float] = {}
    bad = []
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            values = parse_metrics(line)
            if values is None:
                bad.append(number)
            else:
                found.update(values)
    if bad:
        warnings.append(f"{len(bad)} of the lines in {path} are not metrics and were left out; the first is line {bad[0]}")
    return found


def parse_metrics(line: bytes) -> dict[str, float] | None:
    """The metrics of one JSON line, {} for a blank one, None for what is no metric.

    >>> parse_metrics(b'{"name": "auc", "value": 0.7, "step": 3}'), parse_metrics(b'{"loss": 1}'), parse_metrics(b'{"loss": NaN}')
    ({'auc': 0.7}, {'loss': 1.0}, None)
    """
    if not line.strip():
        return {}
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    if isinstance(entry.get("name"), str) and "value" in entry:
        values = {entry["name"]: entry["value"]}
    else:
        values = {key: value for key, value in entry.items() if key not in ("step", "time")}
    good = values and all(isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values.values())
    return {key: float(value) for key, value in values.items()} if good else None


def usage(began: float) -> Json:
    """Seconds and bytes that all children so far have used."""
    import resource

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "wall_seconds": round(time.monotonic() - began, 6),
        "cpu_seconds": round(children.ru_utime + children.ru_stime, 6),
        "max_rss_bytes": children.ru_maxrss * unit,
    }


def reserve(path: str) -> None:
    """Take the space that a result needs while there is some: a program that fills the disk must not hide how it ended."""
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    with open(path + ".part", "wb") as stream:
        stream.write(b"\0" * RESERVED)


def write_durably(path: str, content: Json) -> None:
    """Write JSON so that after a crash there is the whole file or none, into what was reserved if that is there."""
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    with os.fdopen(os.open(path + ".part", os.O_WRONLY | os.O_CREAT, 0o666), "wb") as stream:
        stream.write(json.dumps(content, allow_nan=False).encode())
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())
    fault("before-result")
    os.replace(path + ".part", path)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    fault("after-result")


def fault(point: str) -> None:
    """Die here, as by `kill -9`, if a test asks for it as `mlport.faults` says; otherwise nothing."""
    wanted = os.environ.get("MLPORT_FAULT", "")
    if wanted.startswith("@") and os.path.exists(wanted[1:]):
        with open(wanted[1:], encoding="utf-8") as stream:
            named = stream.read().strip()
        if named == point:
            os.unlink(wanted[1:])
            wanted = point
    if wanted == point:
        os.kill(os.getpid(), signal.SIGKILL)


def utc_now() -> str:
    return datetime.now(timezone.utc).isoformat()


def pass_gate() -> None:
    """Wait for the supervisor's word, if there is one to wait for."""
    gate = os.environ.pop("MLPORT_GATE", None)
    if gate is not None:
        go = os.read(int(gate), 1)
        os.close(int(gate))
        if not go:
            raise SystemExit("mlport: the supervisor went away before the job began")


def say(line: str) -> None:
    """A line of ours in the log. Where the log takes no more, result.json still tells."""
    try:
        os.write(2, f"mlport: {line}\n".encode())
    except OSError:
        return


def ignore_signals() -> None:
    """It is over, and only the writing down is left."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def execute(manifest: Json, stop: Stop) -> str:
    """Perform the run and write its result; the state."""
    began, started = time.monotonic(), utc_now()
    reserve(manifest["result"])
    if manifest.get("started"):
        with open(manifest["started"], "w", encoding="utf-8"):
            pass
    fault("after-started")
    run = Run(manifest, stop)
    try:
        ended, outputs = run.perform()
        ignore_signals()
    except StoppedError:
        ignore_signals()
        ended, outputs = Ended("CANCELLED", "cancelled", "stopped by SIGTERM"), {}
    metrics = read_metrics(manifest.get("metrics"), run.warnings)
    for line in [*run.warnings, *([f"{ended.state}: {ended.reason}"] if ended.reason else [])]:
        say(line)
    write_durably(
        manifest["result"],
        {
            "version": 1,
            **ended._asdict(),
            "exit_code": run.exit_code,
            "started": started,
            "ended": utc_now(),
            "metrics": metrics,
            "outputs": outputs,
            "usage": usage(began),
            "resolved": {"python": "{}.{}.{}".format(*sys.version_info[:3]), "executable": sys.executable},
            "warnings": run.warnings,
        },
    )
    return ended.state


def main(argument: str | None = None) -> int:
    """Run the job of a manifest; the exit status."""
    stop = Stop()
    manifest: Json = {}
    try:
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        pass_gate()
        manifest = load_manifest(argument)
        check_manifest(manifest)
        return EXIT[execute(manifest, stop)]
    except StoppedError:
        return EXIT["CANCELLED"]
    except RefusedError as error:
        say(str(error))
        if isinstance(manifest.get("result"), str):
            write_durably(manifest["result"], {"version": 1, **Ended("FAILED", "", str(error))._asdict(), "exit_code": None})
        return EXIT["FAILED"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
