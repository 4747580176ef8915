"""Cloud Build and Artifact Registry, reached by Google's own discovery client: a Dockerfile is really built, pushed, deployed and run."""

from __future__ import annotations

import io
import json
import tarfile
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from aids.vertex.jobs import ended as job_ended
from aids.vertex.jobs import entries, job
from aids.vertex.models import BUCKET, P, ask, deploy, done, ended, endpoint, nothing_left, put, until
from aids.vertex.place import Sdk, call

from mlport.emulation.server import Ready

Json = dict[str, Any]
REPOSITORY = "us-central1-docker.pkg.dev/emulated/mlport"
DOCKERFILE = r"""
# syntax=docker/dockerfile:1
ARG PYTHON=3.11
FROM python:${PYTHON}-slim AS made
WORKDIR /srv/app
COPY ["words.txt", "./"]
RUN mkdir -p /srv/made \
    # a comment inside
 && cat /srv/app/words.txt > /srv/made/words.txt && echo "from $(pwd)" >> /srv/made/words.txt

FROM python:3.11-slim
ARG GREETING=hello
ENV GREETING=${GREETING} HOME_OF="/srv/app" PYTHONPATH=/srv/lib
WORKDIR /srv/app
COPY --from=made /srv/made/ /srv/made/
COPY server.py helper.py /srv/lib/
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt && useradd -m nobody-here
EXPOSE 8080
USER 1000
ENTRYPOINT ["python", "/srv/lib/server.py"]
CMD ["--from-cmd"]
"""
SERVER = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from helper import words
print("serving", *sys.argv[1:], flush=True)
print("to stderr", file=sys.stderr, flush=True)
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == os.environ["AIP_HEALTH_ROUTE"] else 404); self.end_headers()
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if asked["instances"] == ["die"]:
            os._exit(3)
        body = json.dumps({"predictions": [[words(), os.environ["GREETING"], sys.argv[1:]] for _ in asked["instances"]]}).encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *args): pass
if "--once" in sys.argv:
    print(words(), os.environ["GREETING"], flush=True)
else:
    HTTPServer(("127.0.0.1", int(os.environ["AIP_HTTP_PORT"])), Handler).serve_forever()
"""
FILES = {
    "Dockerfile": DOCKERFILE,
    "words.txt": "some words\n",
    "server.py": SERVER,
    "helper.py": "import numpy\ndef words():\n    return open('/srv/made/words.txt'.replace('/srv', __file__.rpartition('/lib')[0])).read().split()[0]\n",
    "requirements.txt": "numpy\nscikit-learn>=1\n",
    "secret.txt": "not for the image",
    ".dockerignore": "*.txt\n!words.txt\n!requirements.txt\n",
}


@pytest.fixture(scope="module", autouse=True)
def containers(emulator: Ready) -> Iterator[None]:
    with nothing_left(emulator):
        yield


def source(ready: Ready, name: str, files: dict[str, str]) -> Json:
    """A build's source, stored."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    put(ready, f"sources/{name}.tar.gz", buffer.getvalue())
    return {"storageSource": {"bucket": BUCKET, "object": f"sources/{name}.tar.gz"}}


def docker(*words: str) -> Json:
    return {"name": "gcr.io/cloud-builders/docker", "args": list(words)}


def submit(ready: Ready, name: str, files: dict[str, str], **build: Any) -> Json:
    """The operation that a build is."""
    image = f"{REPOSITORY}/{name}:1"
    body = {"source": source(ready, name, files), "steps": [docker("build", "-t", image, ".")], "images": [image], **build}
    return ask(ready, "POST", f"{P}/builds", body)


def built(ready: Ready, operation: Json) -> Json:
    """The build once it has ended."""
    name = operation["metadata"]["build"]["name"]
    look = lambda: found if (found := ask(ready, "GET", f"/v1/{name}"))["status"] not in ("QUEUED", "WORKING") else None  # noqa: E731
    return dict(until(look, 120))


@pytest.fixture(scope="module")
def image(emulator: Ready) -> str:
    """An image that was built with a build argument, and pushed."""
    tag = f"{REPOSITORY}/app:1"
    step = docker("build", "--tag", tag, "--build-arg", "GREETING=$_GREETING", "-f", "Dockerfile", ".")
    found = built(emulator, submit(emulator, "app", FILES, steps=[step], substitutions={"_GREETING": "good day"}, tags=["t1", "t2"]))
    assert found["status"] == "SUCCESS", found
    assert found["results"]["images"][0]["name"] == tag
    return f"{tag.rpartition(':')[0]}@{found['results']['images'][0]['digest']}"


def test_googles_client_builds_and_finds_the_image(sdk: Sdk, emulator: Ready) -> None:
    where = source(emulator, "small", {"Dockerfile": 'FROM python:3.11\nRUN echo "made it"\nCMD ["python", "-V"]\n'})
    program = """
    import json, sys, time
    import google.auth, httplib2
    from google.auth.transport.requests import AuthorizedSession
    from googleapiclient import discovery
    session = AuthorizedSession(google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])[0])
    class Http:  # httplib2 knows proxies with PySocks only: the same requests by another library
        def request(self, uri, method="GET", body=None, headers=None, **_):
            answer = session.request(method, uri, data=body, headers=headers)
            return httplib2.Response({**answer.headers, "status": answer.status_code}), answer.content
        def close(self): session.close()
    build = lambda name, version: discovery.build(name, version, http=Http())
    source = json.loads(sys.argv[1])
    image = "us-central1-docker.pkg.dev/emulated/theirs/small:2"
    parent = "projects/emulated/locations/us-central1"
    registry = build("artifactregistry", "v1").projects().locations().repositories()
    print(registry.create(parent=parent, repositoryId="theirs", body={"format": "DOCKER"}).execute()["done"])
    builds = build("cloudbuild", "v1").projects().locations().builds()
    body = {"source": source, "steps": [{"name": "gcr.io/cloud-builders/docker", "args": ["build", "-t", image, "."]}], "images": [image],
            "tags": ["theirs"], "logsBucket": "gs://emulated-mlport/logs"}
    begun = builds.create(parent=parent, projectId="emulated", body=body).execute()
    name = begun["metadata"]["build"]["name"]
    operations = build("cloudbuild", "v1").projects().locations().operations()
    while not (found := operations.get(name=begun["name"]).execute()).get("done"):
        time.sleep(0.2)
    print(found["response"]["status"], builds.get(name=name).execute()["status"])
    print(len(builds.list(parent=parent, filter='tags="theirs" AND status="SUCCESS"').execute()["builds"]))
    print(builds.list(parent=parent, filter='tags="nobodys"').execute())
    digest = found["response"]["results"]["images"][0]["digest"]
    own = f"{parent}/repositories/theirs"
    tag = registry.packages().tags().get(name=f"{own}/packages/small/tags/2").execute()
    print(tag["version"].rpartition("/")[2] == digest)
    print([each["tags"] for each in registry.dockerImages().list(parent=own).execute()["dockerImages"]])
    print(registry.dockerImages().get(name=f"{own}/dockerImages/small@{digest}").execute()["uri"].endswith(digest))
    registry.packages().tags().delete(name=f"{own}/packages/small/tags/2").execute()
    print(registry.dockerImages().list(parent=own).execute())
    print(found["response"]["id"])
    """
    said = sdk(program, json.dumps(where)).splitlines()
    assert said[:-1] == ["True", "SUCCESS SUCCESS", "1", "{}", "True", "[['2']]", "True", "{}"]
    url = f"{emulator.urls['vertex']}/storage/v1/b/{BUCKET}/o/{quote(f'logs/log-{said[-1]}.txt', safe='')}?alt=media"
    with urllib.request.urlopen(url, timeout=30) as answer:
        log = answer.read().decode()
    assert "made it" in log
    assert log.rstrip().endswith("DONE")
    logged = entries(emulator, f'resource.type="build" AND resource.labels.build_id="{said[-1]}"')
    assert "Step #0: made it" in [entry["textPayload"] for entry in logged]


def test_a_job_runs_what_was_built(emulator: Ready, image: str) -> None:
    container = {"imageUri": image, "args": ["--once"]}
    pool = {"machineSpec": {"machineType": "e2-standard-4"}, "replicaCount": "1", "containerSpec": container}
    status, made = call(emulator, "POST", f"{P}/customJobs", job(pool))
    assert status == 200, made
    found = job_ended(emulator, made["name"])
    said = entries(emulator, f'resource.type="ml_job" AND resource.labels.job_id="{made["name"].rpartition("/")[2]}"')
    printed = [entry.get("jsonPayload", {}).get("message", "").strip() for entry in said]
    assert (found["state"], "some good day" in printed) == ("JOB_STATE_SUCCEEDED", True), (found, printed)


def test_a_deployment_runs_what_was_built_is_started_again_and_is_logged(emulator: Ready, image: str) -> None:
    spec = {"imageUri": image, "predictRoute": "/ask", "healthRoute": "/well", "ports": [{"containerPort": 8080}]}
    model = done(emulator, ask(emulator, "POST", f"{P}/models:upload", {"model": {"displayName": "m", "containerSpec": spec}}))["model"]
    where = endpoint(emulator)
    done(emulator, deploy(emulator, where, model, {"0": 100}, id="77"))
    expected = ["some", "good day", ["--from-cmd"]]
    assert ask(emulator, "POST", f"/v1/{where}:predict", {"instances": [1, 2]})["predictions"] == [expected, expected]
    assert call(emulator, "POST", f"/v1/{where}:predict", {"instances": ["die"]})[0] == 503
    again = until(lambda: told if (told := call(emulator, "POST", f"/v1/{where}:predict", {"instances": [1]}))[0] == 200 else None, 60)
    assert again[1]["predictions"] == [expected]
    wanted = f'resource.type="aiplatform.googleapis.com/Endpoint" AND resource.labels.endpoint_id="{where.rpartition("/")[2]}"'
    found = [entry for entry in entries(emulator, wanted) if entry["labels"]["deployed_model_id"] == "77"]
    assert [(entry["severity"], entry["jsonPayload"]["message"]) for entry in found] in (
        [("INFO", "serving --from-cmd"), ("ERROR", "to stderr")] * 2,
        [("ERROR", "to stderr"), ("INFO", "serving --from-cmd")] * 2,
    ) or len(found) == 4
    assert found[0]["resource"]["labels"]["location"] == "us-central1"
    assert found[0]["logName"].endswith("aiplatform.googleapis.com%2Fprediction_container")
    done(emulator, ask(emulator, "POST", f"/v1/{where}:undeployModel", {"deployedModelId": "77"}))
    assert len(entries(emulator, wanted)) == 4
    copies = list((emulator.folder / "vertex" / "serving").glob("*/root"))
    assert copies == []


def test_images_toml_serves_deployments_too(emulator: Ready) -> None:
    folder = emulator.folder / "vertex"
    folder.joinpath("theirs.py").write_text(SERVER.replace("from helper import words", "words = lambda: 'own'"), "utf-8")
    folder.joinpath("images.toml").write_text(f'"acme/serve:*" = ["python3", "{folder / "theirs.py"}"]\n', "utf-8")
    spec = {
        "imageUri": "acme/serve:1",
        "args": ["x"],
        "env": [{"name": "GREETING", "value": "hi"}],
        "healthRoute": "/h",
        "predictRoute": "/p",
    }
    model = done(emulator, ask(emulator, "POST", f"{P}/models:upload", {"model": {"displayName": "m", "containerSpec": spec}}))["model"]
    where = endpoint(emulator)
    done(emulator, deploy(emulator, where, model, {"0": 100}))
    assert ask(emulator, "POST", f"/v1/{where}:predict", {"instances": [1]})["predictions"] == [["own", "hi", ["x"]]]


def test_a_container_that_ends_before_it_is_well_fails_the_deployment(emulator: Ready) -> None:
    folder = emulator.folder / "vertex"
    folder.joinpath("images.toml").write_text('"acme/broken:*" = ["python3", "-c", "raise SystemExit(\'no such thing\')"]\n', "utf-8")
    model = done(
        emulator,
        ask(emulator, "POST", f"{P}/models:upload", {"model": {"displayName": "m", "containerSpec": {"imageUri": "acme/broken:1"}}}),
    )
    failed = ended(emulator, deploy(emulator, endpoint(emulator), model["model"]))
    assert failed["error"]["message"].startswith("Model server exited unexpectedly.")
    assert "no such thing" in failed["error"]["message"]


@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [
        ("FROM python:3.11\nRUN pip install nobody-has-this-package==9", "No matching distribution found for nobody-has-this-package==9"),
        ("FROM python:3.11\nRUN apt-get update", "an image shares the system of this machine"),
        ("FROM python:3.11\nCOPY nothing.txt /x/", "file not found in build context"),
        ("FROM ubuntu:24.04\n", "pull access denied for ubuntu:24.04"),
        ("RUN true\n", "it must begin with FROM"),
        ("FROM python:3.11\nRUN <<EOF\ntrue\nEOF\n", "here-documents"),
        ("FROM python:3.11\nFETCH x\n", "unknown instruction: FETCH"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_fails_and_says_why(emulator: Ready, dockerfile: str, said: str) -> None:
    begun = submit(emulator, "bad", {"Dockerfile": dockerfile})
    found = built(emulator, begun)
    assert (found["status"], found["failureInfo"]["type"]) == ("FAILURE", "USER_BUILD_STEP"), found
    printed = [entry["textPayload"] for entry in entries(emulator, f'resource.type="build" AND resource.labels.build_id="{found["id"]}"')]
    assert any(said in line for line in printed), printed
    assert [path.name for path in (emulator.folder / "vertex" / "images").glob(f"{found['id']}*")] == []
    assert found["statusDetail"].startswith('build step 0 "gcr.io/cloud-builders/docker" failed')


def test_a_build_is_cancelled_and_one_that_takes_too_long_ends(emulator: Ready) -> None:
    slow = {"Dockerfile": "FROM python:3.11\nRUN python -c 'import time; time.sleep(600)'\n"}
    begun = submit(emulator, "slow", slow)
    name = begun["metadata"]["build"]["name"]
    until(lambda: ask(emulator, "GET", f"/v1/{name}")["status"] == "WORKING", 60)
    ask(emulator, "POST", f"/v1/{name}:cancel", {"id": name.rpartition("/")[2], "projectId": "emulated"})
    assert built(emulator, begun)["status"] == "CANCELLED"
    assert built(emulator, submit(emulator, "slow", slow, timeout="1s"))["status"] == "TIMEOUT"


def test_what_is_not_here_or_not_allowed_is_refused(emulator: Ready) -> None:
    kaniko = {"steps": [{"name": "gcr.io/kaniko-project/executor", "args": ["--destination=x"]}]}
    assert call(emulator, "POST", f"{P}/builds", kaniko)[1]["error"]["status"] == "UNIMPLEMENTED"
    account = {"steps": [docker("build", ".")], "serviceAccount": "projects/emulated/serviceAccounts/x@y.iam.gserviceaccount.com"}
    assert "logs_bucket" in call(emulator, "POST", f"{P}/builds", account)[1]["error"]["message"]
    unknown = {"steps": [{**docker("build", "."), "nonsense": 1}]}
    assert 'Unknown name "nonsense"' in call(emulator, "POST", f"{P}/builds", unknown)[1]["error"]["message"]
    nowhere = submit(emulator, "x", {"Dockerfile": "FROM scratch\nCOPY . /\n"}, images=["us-central1-docker.pkg.dev/emulated/absent/x:1"])
    assert built(emulator, nowhere)["failureInfo"]["type"] == "PUSH_IMAGE_NOT_FOUND"
    image = "us-central1-docker.pkg.dev/emulated/absent/x:1"
    tagged = submit(emulator, "x", {"Dockerfile": "FROM scratch\n"}, images=[image], steps=[docker("build", "-t", image, ".")])
    found = built(emulator, tagged)
    assert (found["failureInfo"]["type"], 'Repository "absent" not found' in found["statusDetail"]) == ("PUSH_FAILED", True), found
