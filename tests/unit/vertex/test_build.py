"""Runtime `build`: the plan says all that is sent, an image is built once, and what goes wrong with a build is told."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aids.vertex.account import ROWS, TRUTH, Account
from aids.vertex.place import set_faults

import mlport
from mlport import ModelVersion
from mlport.capabilities import Capability
from mlport.emulation.server import Ready
from mlport.errors import ProviderError, SpecError, UnsupportedError
from mlport.operations import finish
from mlport.specs import DeploymentSpec, EndpointSpec, ModelRef
from mlport.spi import Facts, State
from mlport.waiting import wait_until
from mlport_vertex import PROVIDER
from mlport_vertex.config import VertexConfig
from mlport_vertex.sagas import Sagas
from mlport_vertex.serving import build_image
from mlport_vertex.serving.build_calls import Builds
from mlport_vertex.serving.build_image import Image
from mlport_vertex.serving.build_wheel import wheel

TOKEN = "5" * 32
CONFIG = VertexConfig(
    project="acme",
    location="europe-west4",
    staging="gs://acme/mlport",
    build_repository="europe-west4-docker.pkg.dev/acme/images",
    build_account="builds@acme.iam.gserviceaccount.com",
)
LOOKED = {
    "container": {},
    "build": {"requirements": "numpy\n", "python": "3.12.1", "wheel": "mlport-1-py3-none-any.whl", "wheel_digest": "00", "there": False},
}


def planned(config: VertexConfig = CONFIG, **build: Any) -> Any:
    model = {"name": "delays", "version": "1", "uri": "gs://acme/m", "flavors": ["python_function"]}
    facts = Facts(model=model, machine={**LOOKED, "build": {**LOOKED["build"], **build}})
    return PROVIDER.plan(config, spec("delays"), facts)


def spec(name: str, version: str = "1", model: str = "delays", **deployment: Any) -> EndpointSpec:
    wanted = {"model": ModelRef(name=model, version=version), "name": "blue", "runtime": "build", **deployment}
    return EndpointSpec(name=name, deployment=DeploymentSpec.model_validate(wanted), capture=None)


# ---------------------------------------------------------------- the plan


def test_the_plan_has_every_request_in_order() -> None:
    plan = planned()
    assert [(request.call.rpartition(".")[2], request.after) for request in plan.requests] == [
        ("create", ""),
        ("insert", ""),
        ("create", "the build's context is there"),
        ("upload", "the image is built"),
        ("deployModel", "the operation of the request before has ended"),
    ]
    _, stored, build, upload, _ = plan.requests
    image = plan.resolved["image"]
    assert image.startswith("europe-west4-docker.pkg.dev/acme/images/mlport-serving:")
    assert upload.body["model"]["containerSpec"]["imageUri"] == image
    assert build.body["images"] == [image]
    assert stored.body["to"] == f"gs://acme/{build.body['source']['storageSource']['object']}"
    assert build.body["serviceAccount"] == "projects/acme/serviceAccounts/builds@acme.iam.gserviceaccount.com"
    assert (build.body["logsBucket"], build.body["options"]) == ("gs://acme/mlport/builds", {"logging": "GCS_ONLY"})
    assert "mlport-${token}" in build.body["tags"]


def test_the_build_fits_googles_description() -> None:
    pytest.importorskip("googleapiclient")
    from mlport_vertex.emulator.protocol.discovery import document

    described = document("cloudbuild.v1")
    checked = described.request(described.methods[build_image.CREATE], planned().requests[2].body)
    assert checked.problems == []


def test_an_image_that_is_there_is_not_built() -> None:
    plan = planned(there=True)
    assert [request.call.rpartition(".")[2] for request in plan.requests] == ["create", "upload", "deployModel"]
    assert plan.resolved["image"] == planned().resolved["image"]


def test_the_image_is_named_by_what_it_is_made_of() -> None:
    names = {
        planned(**change).resolved["image"] for change in ({}, {"requirements": "numpy==2\n"}, {"python": "3.13.0"}, {"wheel_digest": "01"})
    }
    assert len(names) == 4
    assert planned(python="3.12.9").resolved["image"] == planned().resolved["image"]
    assert any("Python 3.9" in note for note in planned(python="3.9.2").notes)


def test_without_a_repository_it_is_refused_and_told_how_to_make_one() -> None:
    without = CONFIG.model_copy(update={"build_repository": None})
    support = PROVIDER.supports(without)[Capability.ENDPOINT_BUILD]
    assert (support.available, "build_repository" in support.detail) == (False, True)
    assert PROVIDER.supports(CONFIG)[Capability.ENDPOINT_BUILD].available
    with pytest.raises(SpecError, match="build_repository"):
        planned(without)


def test_the_wheel_can_be_installed_and_the_context_is_the_same_each_time() -> None:
    name, content = wheel()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.namelist()
        assert archive.testzip() is None
    assert {"mlport/serving/__main__.py", "mlport_vertex/serve.py", "mlport_vertex/in_job/gcs.py"} <= set(members)
    assert not [member for member in members if "__pycache__" in member]
    wanted = Image("a/b/c:d", "d", "FROM x\n", "3.12")
    first, second = (build_image.context(wanted, "numpy\n", name, content) for _ in range(2))
    assert first == second
    with tarfile.open(fileobj=io.BytesIO(first)) as archived:
        assert archived.getnames() == ["Dockerfile", "requirements.txt", name]


# ---------------------------------------------------------------- at work


@pytest.fixture(scope="module")
def client(account: Account) -> mlport.Client:
    return account()


@pytest.fixture(scope="module")
def version(client: mlport.Client, classifier: dict[str, Path]) -> ModelVersion:
    return client.models.register("delays", classifier["skops"], trust=True)


@pytest.fixture
def faults(emulator: Ready) -> Iterator[None]:
    yield
    set_faults(emulator)


def builds(client: mlport.Client) -> list[dict[str, Any]]:
    """All builds of the project, newest first."""
    return Builds(client.session.api)._tagged("mlport")


@pytest.mark.usefixtures("faults")
def test_it_is_built_once_deployed_and_asked(emulator: Ready, client: mlport.Client, version: ModelVersion) -> None:
    """The answer to the build is lost, and its client is gone: another one finds the build by its tag."""
    wanted = spec("built")
    plan = client.endpoints.plan(wanted)
    session = client.session
    set_faults(emulator, {"match": "POST */builds", "effect": "reset", "when": "after", "times": 1})
    begun = session.endpoints.create(plan, token=TOKEN)
    wait_until(lambda: session.operations.advance(begun.id), lambda _: bool(builds(client)), timeout=60)
    other = mlport.Client(PROVIDER, client.config)
    try:
        done = finish(other, begun, timeout=300)
    finally:
        other.close()
    assert done.state is State.SUCCEEDED, done
    endpoint = client.endpoints.get("built")
    assert (list(endpoint.predict(ROWS)), endpoint.deployments[0].runtime) == (TRUTH, "build")
    assert [build["status"] for build in builds(client)] == ["SUCCESS"]
    again = endpoint.deploy(version, name="green", runtime="build")
    endpoint.set_traffic({"blue": 0, "green": 100})
    assert (list(endpoint.predict(ROWS)), again.version) == (TRUTH, "1")
    assert len(builds(client)) == 1
    endpoint.delete()
    left = [model["displayName"] for model in session.api.call("models.list").get("models", ())]
    assert [name for name in left if "-serving-" in name] == []


def test_requirements_that_cannot_be_had_fail_it_with_the_logs_end(
    client: mlport.Client, classifier: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(classifier["skops"], tmp_path / "model")
    folder.joinpath("requirements.txt").write_text("nobody-has-this==7\n", encoding="utf-8")
    client.models.register("broken", folder, trust=True)
    with pytest.raises(ProviderError) as failed:
        client.endpoints.create(spec("broken", model="broken"))
    assert "No matching distribution found for nobody-has-this==7" in str(failed.value)
    assert "console.cloud.google.com/cloud-build" in str(failed.value)
    assert "broken" not in [each.name for each in client.endpoints.list()]


def test_an_endpoint_that_is_deleted_takes_its_build_along(client: mlport.Client, classifier: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(classifier["skops"], tmp_path / "model")
    folder.joinpath("requirements.txt").write_text("scikit-learn\nmlflow\n", encoding="utf-8")
    client.models.register("dropped", folder, trust=True)
    session = client.session
    begun = session.endpoints.create(client.endpoints.plan(spec("dropped", model="dropped")), token="6" * 32)
    name = wait_until(
        lambda: Sagas(session.api, session.state).find("6" * 32) if session.operations.advance(begun.id) else None,
        lambda note: bool(note and note.steps[note.at].call == "builds.create" and note.steps[note.at].native),
        timeout=60,
    )
    assert name is not None
    Builds(session.api).cancel_of("dropped")
    ended = wait_until(lambda: session.operations.advance(begun.id), lambda status: status.state.terminal, timeout=120)
    assert (ended.state, "CANCELLED" in ended.reason) == (State.FAILED, True)
    assert "dropped" not in [each.name for each in client.endpoints.list()]


def test_what_the_profile_and_the_model_lack_is_told_before_anything_is_sent(account: Account, client: mlport.Client, folder: Path) -> None:
    with pytest.raises(UnsupportedError, match="build_repository"):
        account(build_repository=None).endpoints.create(spec("nowhere"))
    absent = account(build_repository="us-central1-docker.pkg.dev/emulated/absent")
    with pytest.raises(SpecError, match="does not exist") as refused:
        absent.endpoints.create(spec("nowhere"))
    assert "gcloud artifacts repositories create absent" in str(refused.value.hint)
    client.models.register("plain", folder, trust=True)
    with pytest.raises(SpecError, match=r"requirements\.txt"):
        client.endpoints.create(spec("nowhere", model="plain"))
    assert [finding.ok for finding in client.session.doctor() if finding.check == "builds"] == [True]
    assert [finding.ok for finding in absent.session.doctor() if finding.check == "builds"] == [False]
