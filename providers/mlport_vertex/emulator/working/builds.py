"""Cloud Build at work: its source is fetched, its docker steps are done by `image_build`, its images go to Artifact Registry.

A build is a document of the kind `builds`, exactly as answered, under its full name; while it has not ended, one of the kind
`buildWork` says that it is to be done. A killed emulator begins again with what had not ended. The log's lines are those of
public logs of Cloud Build; they are in Cloud Logging and, where the build has a bucket for them, in Cloud Storage.
"""

from __future__ import annotations

import secrets
import shutil
import tarfile
import tempfile
import threading
import time
import uuid
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pathspec

from mlport_vertex.emulator.place import Place, now, number_of
from mlport_vertex.emulator.protocol.errors import ApiError
from mlport_vertex.emulator.protocol.resources import normal
from mlport_vertex.emulator.storing.image_store import ImageStore, split_reference
from mlport_vertex.emulator.storing.object_records import StorageError
from mlport_vertex.emulator.working.image_build import Builder, BuildError

Json = dict[str, Any]
KIND, WORK, LINES, REPOSITORIES = "builds", "buildWork", "buildLogs", "repositories"
ENDED = ("SUCCESS", "FAILURE", "INTERNAL_ERROR", "TIMEOUT", "CANCELLED", "EXPIRED")
DOCKER = ("gcr.io/cloud-builders/docker", "docker", "docker.io/library/docker")
SECONDS = "3600s"  # of a build that names no timeout: cloudbuild.v1, Build.timeout
STOPPED = ("CANCELLED", "TIMEOUT", "ENDING")
AT_ONCE = 2
TYPE = "type.googleapis.com/google.devtools.cloudbuild.v1."
VALUED = ("--build-arg", "--cache-from", "--file", "--label", "--network", "--platform", "--progress", "--tag", "--target", "-f", "-t")


class Builds:
    """The builds of one place."""

    def __init__(self, place: Place) -> None:
        self._place, self.store = place, ImageStore(place)
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="builds")
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._ending = threading.Event()
        place.chore(self._push)
        place.at_end(self._close)

    def begin(self, project: str, location: str, build: Json) -> Json:
        """A new build, as it is answered first."""
        build_id = str(uuid.uuid4())
        name = f"{normal(f'projects/{project}')}/locations/{location}/builds/{build_id}"
        number = name.split("/")[1]
        known = {
            "PROJECT_ID": project,
            "PROJECT_NUMBER": number,
            "BUILD_ID": build_id,
            "LOCATION": location,
            **build.get("substitutions", {}),
        }
        console = f"https://console.cloud.google.com/cloud-build/builds;region={location}/{build_id}?project={number}"
        made: Json = {
            "timeout": SECONDS,
            **_substituted(build, known),
            "name": name,
            "id": build_id,
            "projectId": project,
            "status": "QUEUED",
            "createTime": now(),
            "logUrl": console,
        }
        with self._place.documents.together():
            self._place.documents.insert(KIND, name, made)
            self._place.documents.insert(WORK, name, {"name": name})
        return made

    def get(self, name: str) -> Json | None:
        return self._place.documents.get(KIND, name)

    def cancel(self, name: str) -> Json | None:
        """Ask for its end; an ended one stays as it is."""
        self._place.documents.change(WORK, name, lambda work: {**work, "cancelled": True})
        if self._place.documents.get(WORK, name) and (found := self.get(name)) and found["status"] == "QUEUED":
            self._finish(name, "CANCELLED")
        return self.get(name)

    # ---------------------------------------------------------------- the work

    def _push(self) -> None:
        for _, work in list(self._place.documents.list(WORK))[::-1]:
            with self._lock:
                if work["name"] in self._busy or len(self._busy) >= AT_ONCE:
                    continue
                self._busy.add(work["name"])
            self._pool.submit(self._work, work["name"])

    def _work(self, name: str) -> None:
        try:
            build = self._changed(name, status="WORKING", startTime=now())
            if build is not None:
                self._place.tries(
                    f"build {name}", lambda: Run(self._place, self, build).run(), lambda: self._finish(name, "INTERNAL_ERROR")
                )
        finally:
            with self._lock:
                self._busy.discard(name)

    def stopped(self, build: Json, since: float) -> str:
        """Why a build is to end; empty while it is not."""
        if self._ending.is_set():
            return "ENDING"
        if (self._place.documents.get(WORK, build["name"]) or {}).get("cancelled"):
            return "CANCELLED"
        return "TIMEOUT" if time.monotonic() - since > float(build["timeout"].removesuffix("s")) else ""

    def _changed(self, name: str, **fields: Any) -> Json | None:
        return self._place.documents.change(KIND, name, lambda build: None if build["status"] in ENDED else {**build, **fields})

    def _finish(self, name: str, status: str, **fields: Any) -> None:
        with self._place.documents.together():
            self._changed(name, status=status, finishTime=now(), **fields)
            self._place.documents.delete(WORK, name)

    def ended(self, build: Json, status: str, **fields: Any) -> None:
        self._finish(build["name"], status, **fields)

    def _close(self) -> None:
        self._ending.set()
        self._pool.shutdown(cancel_futures=True)


class Run:
    """One build from source to pushed images."""

    def __init__(self, place: Place, builds: Builds, build: Json) -> None:
        self._place, self._builds, self._build = place, builds, build
        self._since = time.monotonic()
        self._images: dict[str, str] = {}
        self._lines: list[str] = []

    def run(self) -> None:
        """Do it; how it ends is kept, and nothing else."""
        self._builds.store.sweep(f"{self._build['id']}-")
        try:
            outcome = self._outcome()
        finally:
            self._builds.store.sweep(f"{self._build['id']}-")
        if outcome["status"] != "ENDING":  # the emulator ends: the next one begins it again
            self._keep_log()
            self._builds.ended(self._build, **outcome)

    def _outcome(self) -> Json:
        """The fields of a build that has ended."""
        build = self._build
        self._write(f'starting build "{build["id"]}"\n')
        with tempfile.TemporaryDirectory(prefix="build-", dir=self._place.folder) as scratch:
            workspace = Path(scratch, "workspace")
            workspace.mkdir()
            try:
                self._fetch(workspace, Path(scratch))
                self._write("BUILD")
                steps = [self._step(number, step, workspace) for number, step in enumerate(build["steps"])]
                results = self._push()
            except (Failed, BuildError) as error:
                return self._failed(error)
        self._write("DONE")
        return {"status": "SUCCESS", "steps": steps, "results": results}

    def _failed(self, error: Exception) -> Json:
        self._write(f"ERROR\nERROR: {error}")
        if str(error) in STOPPED:
            return {"status": str(error)}
        kind = error.kind if isinstance(error, Failed) else "USER_BUILD_STEP"
        return {"status": "FAILURE", "failureInfo": {"type": kind, "detail": str(error)}, "statusDetail": str(error)}

    def _stopped(self) -> str:
        return self._builds.stopped(self._build, self._since)

    # ---------------------------------------------------------------- source

    def _fetch(self, workspace: Path, scratch: Path) -> None:
        source = self._build.get("source", {}).get("storageSource")
        if source is None:
            return
        self._write("FETCHSOURCE")
        uri = f"gs://{source['bucket']}/{source['object']}"
        self._write(f"Fetching storage object: {uri}#{source.get('generation', '')}")
        try:
            found = self._place.objects.need(source["bucket"], source["object"], generation=_generation(source))
        except StorageError as error:
            raise Failed("FETCH_SOURCE_FAILED", f"could not resolve source: {error.message}") from error
        archive = Path(shutil.copy(found.path, scratch / "source"))
        try:
            if zipfile.is_zipfile(archive):
                shutil.unpack_archive(archive, workspace, "zip")
            else:
                with tarfile.open(archive) as opened:
                    opened.extractall(workspace, filter="data")
        except (tarfile.TarError, zipfile.BadZipFile, OSError) as error:
            raise Failed("FETCH_SOURCE_FAILED", f"error fetching source: {uri} is not a .zip or .tar.gz: {error}") from error

    # ---------------------------------------------------------------- steps

    def _step(self, number: int, step: Json, workspace: Path) -> Json:
        begun = now()
        self._write(f"Starting Step #{number}\nStep #{number}: Already have image (with digest): {step['name']}")
        verb, *words = step["args"]
        try:
            if reason := self._stopped():
                raise BuildError(reason)
            {"build": self._docker_build, "push": self._docker_push, "tag": self._docker_tag}[verb](
                number, words, workspace / step.get("dir", ".")
            )
        except BuildError as error:
            if str(error) in STOPPED:
                raise
            self._write(f"Step #{number}: {error}\nFinished Step #{number}")
            raise Failed("USER_BUILD_STEP", f'build step {number} "{step["name"]}" failed: step exited with non-zero status: 1') from error
        self._write(f"Finished Step #{number}")
        return {**step, "status": "SUCCESS", "timing": {"startTime": begun, "endTime": now()}}

    def _docker_build(self, number: int, words: list[str], folder: Path) -> None:
        options, places = _options(words)
        if len(places) != 1:
            raise BuildError('"docker build" requires exactly 1 argument.')
        context = folder / places[0]
        file = folder / options["--file"][-1] if options.get("--file") else context / "Dockerfile"
        if not context.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            raise BuildError(
                f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: {file.name}: no such file or directory"
            )
        text = file.read_text("utf-8")
        _forget_ignored(context)
        given = dict(pair.partition("=")[::2] for pair in options.get("--build-arg", ()))
        builder = Builder(
            self._builds.store,
            context,
            f"{self._build['id']}-{secrets.token_hex(4)}",
            lambda line: self._write(f"Step #{number}: {line}"),
            self._stopped,
        )
        made, config = builder.build(text, given, (options.get("--target") or [""])[-1])
        digest = self._builds.store.keep(made, config)
        self._write(f"Step #{number}: Successfully built {digest.removeprefix('sha256:')[:12]}")
        for tag in options.get("--tag", ()):
            self._images[_tagged(tag)] = digest
            self._write(f"Step #{number}: Successfully tagged {_tagged(tag)}")

    def _docker_tag(self, number: int, words: list[str], folder: Path) -> None:
        if len(words) != 2 or (digest := self._known(words[0])) is None:
            raise BuildError(f"Error response from daemon: No such image: {words[0] if words else ''}")
        self._images[_tagged(words[1])] = digest

    def _docker_push(self, number: int, words: list[str], folder: Path) -> None:
        for image in words:
            if (digest := self._known(image)) is None:
                raise BuildError(f"An image does not exist locally with the tag: {image}")
            self._to_registry(_tagged(image), digest)

    def _known(self, image: str) -> str | None:
        built = self._builds.store.find(image)
        return self._images.get(_tagged(image)) or (built.digest if built else None)

    # ---------------------------------------------------------------- images

    def _push(self) -> Json:
        wanted = self._build.get("images", ())
        if wanted:
            self._write("PUSH")
        found = []
        for image in wanted:
            begun, digest = now(), self._known(image)
            if digest is None:
                raise Failed("PUSH_IMAGE_NOT_FOUND", f'failed to find one or more images after execution of build steps: ["{image}"]')
            try:
                self._to_registry(_tagged(image), digest)
            except BuildError as error:
                raise Failed("PUSH_FAILED", f'push "{image}": {error}') from error
            found.append({"name": image, "digest": digest, "pushTiming": {"startTime": begun, "endTime": now()}})
        return {"images": found} if found else {}

    def _to_registry(self, reference: str, digest: str) -> None:
        image, tag, _ = split_reference(reference)
        self._write(f"Pushing {reference}\nThe push refers to repository [{image}]")
        parts = image.split("/")
        repository = repository_name(*parts[:3]) if len(parts) >= 4 else ""
        if not repository or self._place.documents.get(REPOSITORIES, repository) is None:
            said = parts[2] if len(parts) > 2 else image
            raise BuildError(f'name unknown: Repository "{said}" not found')
        self._builds.store.tag(image, tag, digest)
        self._write(f"{tag}: digest: {digest}")

    # ---------------------------------------------------------------- the log

    def _write(self, text: str) -> None:
        """Lines of the log, in Cloud Logging at once unless the build has it elsewhere only."""
        build, mode = self._build, self._build.get("options", {}).get("logging", "LEGACY")
        for line in text.split("\n"):
            self._lines.append(line)
            if mode not in ("GCS_ONLY", "NONE"):
                number = self._place.documents.next_number("insert ids")
                entry = {
                    "insertId": f"b{number:012d}",
                    "logName": f"projects/{build['projectId']}/logs/cloudbuild",
                    "resource": {
                        "type": "build",
                        "labels": {"build_id": build["id"], "project_id": build["projectId"], "build_trigger_id": ""},
                    },
                    "labels": {"build_tags": ",".join(build.get("tags", ()))},
                    "timestamp": now(),
                    "severity": "INFO",
                    "textPayload": line,
                }
                self._place.documents.insert(LINES, f"{build['name']}/{number:012d}", {**entry, "receiveTimestamp": entry["timestamp"]})

    def _keep_log(self) -> None:
        """Whole, at the build's end: the real one streams it."""
        bucket = self._build.get("logsBucket", "").removeprefix("gs://").strip("/")
        if not bucket or self._build.get("options", {}).get("logging") in ("CLOUD_LOGGING_ONLY", "STACKDRIVER_ONLY", "NONE"):
            return
        with tempfile.TemporaryDirectory(dir=self._place.folder) as scratch:
            Path(scratch, f"log-{self._build['id']}.txt").write_text("\n".join(self._lines) + "\n", encoding="utf-8")
            try:
                self._place.objects.upload_tree(Path(scratch), f"gs://{bucket}")
            except StorageError as error:
                raise ApiError("INTERNAL", error.message) from error


class Failed(Exception):  # noqa: N818 - an outcome
    """How a build failed: a type of FailureInfo, and the words."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(said)
        self.kind = kind


def repository_name(host: str, project: str, repository: str) -> str:
    """The repository that an image's address begins with; empty for another registry's.

    >>> repository_name("us-central1-docker.pkg.dev", "emulated", "r")
    'projects/424242424242/locations/us-central1/repositories/r'
    """
    location = host.removesuffix("-docker.pkg.dev")
    return f"projects/{number_of(project)}/locations/{location}/repositories/{repository}" if location != host else ""


def _tagged(reference: str) -> str:
    image, tag, _ = split_reference(reference)
    return f"{image}:{tag}"


def _generation(source: Json) -> int | None:
    return int(source["generation"]) if source.get("generation") else None


def _options(words: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The options of `docker build` with their values, and what is none."""
    short = {"-t": "--tag", "-f": "--file"}
    options: dict[str, list[str]] = {}
    places, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            places.append(word)
        elif name in VALUED and not equals:
            options.setdefault(short.get(name, name), []).append(rest.pop(0) if rest else "")
        else:
            options.setdefault(short.get(name, name), []).append(value)
    return options, places


def _forget_ignored(context: Path) -> None:
    """Remove from the context what .dockerignore names: its patterns are anchored at the context's root."""
    file = context / ".dockerignore"
    if not file.is_file():
        return
    lines = [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]
    rules = ["!/" + line[1:].lstrip("/") if line.startswith("!") else "/" + line.lstrip("/") for line in lines]
    spec = pathspec.PathSpec.from_lines("gitignore", rules)
    for path in sorted(context.rglob("*"), reverse=True):
        if path.is_file() and path.name not in ("Dockerfile", ".dockerignore") and spec.match_file(path.relative_to(context).as_posix()):
            path.unlink()
        elif path.is_dir():
            with suppress(OSError):  # it holds something
                if spec.match_file(path.relative_to(context).as_posix() + "/"):
                    path.rmdir()


def _substituted(build: Json, known: Mapping[str, str]) -> Json:
    """The build with `$NAME` and `${NAME}` put in where Cloud Build does; `$$` is a dollar."""
    import re

    def put(value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(
                r"\$(?:(\$)|\{(\w+)\}|([A-Z_][A-Z0-9_]*))",
                lambda found: "$" if found[1] else known.get(found[2] or found[3], ""),
                value,
            )
        if isinstance(value, list):
            return [put(item) for item in value]
        return {key: put(item) for key, item in value.items()} if isinstance(value, dict) else value

    return {
        key: put(value) if key in ("steps", "images", "tags", "logsBucket", "serviceAccount") else value for key, value in build.items()
    }
