"""Runtime `build`: the image that serves a model with the packages that it was saved with. Pure.

An image is named by what it is made of, so that it is built once; models with the same requirements share it. The model
itself is not in it: the container fetches it from Cloud Storage when it starts.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import NamedTuple

from mlport.errors import SpecError
from mlport.spi import TOKEN, Facts, Json, Request
from mlport_vertex.config import VertexConfig

NAME = "mlport-serving"
CREATE = "cloudbuild.projects.locations.builds.create"
STORE = "storage.objects.insert"
BUILDER = "gcr.io/cloud-builders/docker"
"""https://cloud.google.com/build/docs/building/build-containers. Kaniko, the other way, was archived by Google in 2025."""
TIMEOUT = "1800s"
OLDEST = (3, 11)  # that mlport runs with
FOLDER = "/srv/mlport"


class Image(NamedTuple):
    """An image to be built, or that is there."""

    address: str
    tag: str
    dockerfile: str
    python: str


def dockerfile(python: str, wheel: str) -> str:
    """The Dockerfile of a serving image: the model's packages, and mlport's model server.

    >>> print(dockerfile("3.12", "mlport-1-py3-none-any.whl").splitlines()[0])
    FROM python:3.12-slim
    """
    return f"""FROM python:{python}-slim
WORKDIR {FOLDER}
COPY requirements.txt {wheel} ./
RUN pip install --no-cache-dir -r requirements.txt "./{wheel}[local]"
ENV PYTHONUNBUFFERED=1 HOME=/tmp
EXPOSE 8080
USER 65534
ENTRYPOINT ["python", "-m", "mlport_vertex.serve"]
"""


def image(config: VertexConfig, looked: Json) -> Image:
    """The image for what was found out of a model (`mlport_vertex.serving.build_calls.facts`).

    Raises:
        SpecError: nothing was found out, or the profile names no repository.
    """
    if not config.build_repository:
        raise SpecError(
            "DeploymentSpec.runtime: 'build' needs build_repository in the profile",
            hint="the Artifact Registry repository that images go to, LOCATION-docker.pkg.dev/PROJECT/REPOSITORY; docs/vertex/main.tf makes one",
        )
    found = looked.get("build")
    if not found:
        raise SpecError("DeploymentSpec.model: nobody has looked at its requirements", hint="plan it with a connection")
    python = supported(found.get("python") or "")
    text = dockerfile(python, found["wheel"])
    said = json.dumps([text, found["requirements"], found["wheel_digest"]])
    tag = hashlib.sha256(said.encode()).hexdigest()[:40]
    return Image(f"{config.build_repository}/{NAME}:{tag}", tag, text, python)


def supported(python: str) -> str:
    """The minor version of Python to build with: the model's, or the oldest that mlport runs with.

    >>> supported("3.12.4"), supported("3.9.1"), supported("")
    ('3.12', '3.11', '3.11')
    """
    parts = python.split(".")
    known = tuple(map(int, parts[:2])) if len(parts) >= 2 and all(part.isdigit() for part in parts[:2]) else OLDEST
    return ".".join(map(str, max(known, OLDEST)))


def requests(config: VertexConfig, endpoint: str, facts: Facts) -> tuple[tuple[Request, ...], tuple[str, ...]]:
    """What makes the image, nothing where it is there; and what the plan notes of it."""
    looked = facts.machine or {}
    wanted = image(config, looked)
    if looked["build"].get("there"):
        return (), (f"{wanted.address} is there, and is not built again",)
    notes = [f"{wanted.address} is built first, which takes some minutes; Cloud Build's price is not in the estimate"]
    declared = looked["build"].get("python") or ""
    if declared and not declared.startswith(wanted.python):
        notes.append(
            f"the model was saved with Python {declared}, which mlport's server does not run with: it is served with {wanted.python}"
        )
    bucket, _, name = context_address(config, wanted).removeprefix("gs://").partition("/")
    account = {"serviceAccount": f"projects/{config.project}/serviceAccounts/{config.build_account}"} if config.build_account else {}
    body: Json = {
        "source": {"storageSource": {"bucket": bucket, "object": name}},
        "steps": [{"name": BUILDER, "args": ["build", "--tag", wanted.address, "."]}],
        "images": [wanted.address],
        "tags": ["mlport", tag_of(TOKEN), tag_of_endpoint(endpoint)],
        "timeout": TIMEOUT,
        "logsBucket": log_folder(config),
        "options": {"logging": "GCS_ONLY"},
        **account,
    }
    stored = Request(
        STORE, {"to": context_address(config, wanted), "holds": ["Dockerfile", "requirements.txt", looked["build"]["wheel"]]}, "POST"
    )
    build = Request(CREATE, body, "POST", f"/v1/{config.parent}/builds", after="the build's context is there")
    return (stored, build), tuple(notes)


def tag_of(token: str) -> str:
    """The tag that a build is found again by."""
    return f"mlport-{token}"


def tag_of_endpoint(endpoint: str) -> str:
    return f"mlport-endpoint-{endpoint}"


def log_folder(config: VertexConfig) -> str:
    """Where builds keep their logs: a folder of a bucket may be named, as `gcloud builds submit --gcs-log-dir` does."""
    return f"{config.staging}/builds"


def context_address(config: VertexConfig, wanted: Image) -> str:
    return f"{config.staging}/builds/{wanted.tag}.tar.gz"


def context(wanted: Image, requirements: str, wheel: str, content: bytes) -> bytes:
    """The build's context, the same bytes for the same files."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in (("Dockerfile", wanted.dockerfile.encode()), ("requirements.txt", requirements.encode()), (wheel, content)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
