"""Small programs with the calls that Google's samples make, unmodified SDK, nothing but the environment: what other files here leave out.

Training from a container and from a Python package, with a model and without one, and the same work through the generated
clients, which are gRPC's only.
"""

from __future__ import annotations

import io
import json
import pickle
import tarfile

import pytest
from aids.vertex.models import P, ask, classifier, deploy, done, endpoint, put, read, refused, upload
from aids.vertex.place import Sdk

from mlport.emulation.server import Ready

WRITES = """
import os, sys
from google.cloud import storage
bucket, _, folder = os.environ["AIP_MODEL_DIR"].removeprefix("gs://").partition("/")
storage.Client().bucket(bucket).blob(folder + "told.txt").upload_from_string(" ".join(sys.argv[1:]))
"""

TRAINING = """
import json, sys
from google.cloud import aiplatform as a
from google.cloud.aiplatform import training_jobs

training_jobs._JOB_WAIT_TIME = 0.1
transport, package, image = sys.argv[1:]
a.init(project="emulated", location="us-central1", staging_bucket="gs://emulated-mlport", api_transport=transport)
server = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
executor = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest"
found = {}
for kind, job in {
    "container": a.CustomContainerTrainingJob("c", container_uri=image, model_serving_container_image_uri=server, labels={"way": transport}),
    "package": a.CustomPythonPackageTrainingJob(
        "p", python_package_gcs_uri=package, python_module_name="trainer.task", container_uri=executor,
        model_serving_container_image_uri=server,
    ),
    "alone": a.CustomContainerTrainingJob("alone", container_uri=image),
}.items():
    given = {} if kind == "alone" else {"model_display_name": f"{kind} {transport}", "model_labels": {"way": transport}}
    model = job.run(args=["--kind", kind, 3, 0.5], base_output_dir=f"gs://emulated-mlport/{transport}/{kind}", replica_count=1, **given)
    backing = a.CustomJob.get(job.to_dict()["trainingTaskMetadata"]["backingCustomJob"])
    found[kind] = [job.state.name, backing.state.name, model and model.display_name, model and dict(model.labels)]
    if model:
        again = type(job).get(job.resource_name)
        found[kind].append(again.get_model().resource_name == model.resource_name)
        model.delete()
    job.delete()
found["left"] = [each.display_name for each in a.CustomContainerTrainingJob.list(filter=f'labels.way="{transport}"')]
print(json.dumps(found))
"""

GENERATED = """
import json, sys, time
from google.cloud import aiplatform
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Value

artifacts, image = sys.argv[1:]
options = {"api_endpoint": "us-central1-aiplatform.googleapis.com"}
jobs, models, endpoints, pipelines, predictions = (
    getattr(aiplatform.gapic, name + "ServiceClient")(client_options=options) for name in ("Job", "Model", "Endpoint", "Pipeline", "Prediction")
)
parent = "projects/emulated/locations/us-central1"
machine = {"machine_type": "n1-standard-4", "accelerator_type": aiplatform.gapic.AcceleratorType.NVIDIA_TESLA_T4, "accelerator_count": 1}

def ended(look, name):
    while (found := look(name=name)).state.name.rpartition("_")[2] not in ("SUCCEEDED", "FAILED", "CANCELLED"):
        time.sleep(0.1)
    return found

found = {}
container = {"image_uri": image, "command": [], "args": ["--kind", "custom"]}
spec = {"worker_pool_specs": [{"machine_spec": machine, "replica_count": 1, "container_spec": container}]}
output = {"base_output_directory": {"output_uri_prefix": "gs://emulated-mlport/gapic"}}
job = ended(jobs.get_custom_job, jobs.create_custom_job(parent=parent, custom_job={"display_name": "j", "job_spec": {**spec, **output}}).name)
found["job"] = [job.state.name, job.job_spec.worker_pool_specs[0].machine_spec.accelerator_type.name]
jobs.delete_custom_job(name=job.name).result(timeout=60)

inputs = {"workerPoolSpecs": [{
    "replicaCount": 1, "machineSpec": {"machineType": "n1-standard-4"}, "containerSpec": {"imageUri": image, "args": ["$(AIP_MODEL_DIR)"]},
}], "baseOutputDirectory": {"output_uri_prefix": "gs://emulated-mlport/piped"}}
pipeline = ended(pipelines.get_training_pipeline, pipelines.create_training_pipeline(parent=parent, training_pipeline={
    "display_name": "piped", "training_task_inputs": json_format.ParseDict(inputs, Value()),
    "training_task_definition": "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml",
    "model_to_upload": {"display_name": "piped", "container_spec": {"image_uri": "gcr.io/cloud-aiplatform/prediction/tf-cpu.1-15:latest"}},
}).name)
found["pipeline"] = [pipeline.state.name, models.get_model(name=pipeline.model_to_upload.name).artifact_uri]
pipelines.delete_training_pipeline(name=pipeline.name).result(timeout=60)

server = {"image_uri": "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest", "command": [], "env": [], "ports": [], "predict_route": ""}
model = {"display_name": "m", "metadata_schema_uri": "", "artifact_uri": artifacts, "container_spec": server}
uploaded = models.upload_model(parent=parent, model=model).result(timeout=60)
endpoint = endpoints.create_endpoint(parent=parent, endpoint={"display_name": "e"}).result(timeout=60)
resources = {"min_replica_count": 1, "machine_spec": {"machine_type": "n1-standard-2"}}
deployed = endpoints.deploy_model(
    endpoint=endpoint.name, traffic_split={"0": 100},
    deployed_model={"model": uploaded.model, "display_name": "d", "dedicated_resources": resources},
).result(timeout=120).deployed_model
answer = predictions.predict(
    endpoint=endpoint.name, parameters=json_format.ParseDict({}, Value()),
    instances=[json_format.ParseDict({"x": x, "word": "same"}, Value()) for x in (1.5, -3.0)],
)
found["answer"] = [list(answer.predictions), answer.deployed_model_id == deployed.id, answer.model == uploaded.model]
endpoints.undeploy_model(endpoint=endpoint.name, deployed_model_id=deployed.id).result(timeout=60)
endpoints.delete_endpoint(name=endpoint.name).result(timeout=60)
models.delete_model(name=uploaded.model).result(timeout=60)
from google.cloud import aiplatform_v1beta1 as beta

early = beta.ModelServiceClient(client_options=options)
model = {"display_name": "beta", "container_spec": {"image_uri": "python:3.11"}}
made = early.upload_model(parent=parent, model=beta.Model(model)).result(timeout=60)
found["beta"] = [type(made).__module__.split(".")[2], early.get_model(name=made.model).display_name]
early.delete_model(name=made.model).result(timeout=60)
found["left"] = [each.display_name for each in endpoints.list_endpoints(parent=parent)]
print(json.dumps(found))
"""


pytestmark = pytest.mark.usefixtures("no_server_left")


@pytest.fixture(scope="module")
def image(emulator: Ready) -> str:
    """An image whose own command writes what it was told to where the model belongs."""
    program = emulator.folder / "write.py"
    program.write_text(WRITES)
    name = "us-docker.pkg.dev/emulated/programs/train:latest"
    (emulator.folder / "vertex" / "images.toml").write_text(f"{json.dumps(name)} = {json.dumps(['python3', str(program)])}\n")
    return name


def _package() -> bytes:
    packed = io.BytesIO()
    files = {
        "setup.py": "from setuptools import setup\nsetup(name='trainer', version='1', packages=['trainer'])\n",
        "trainer/task.py": WRITES,
    }
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in {**files, "trainer/__init__.py": ""}.items():
            entry = tarfile.TarInfo(f"trainer-1/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def _of_objects() -> bytes:
    """A pickled model of rows that are objects: whether x is positive."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = [{"x": x, "word": "same"} for x in (-2.0, -1.0, 1.0, 2.0)]
    return pickle.dumps(make_pipeline(DictVectorizer(), LogisticRegression()).fit(rows, [False, False, True, True]))


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_a_container_and_a_package_train(emulator: Ready, sdk: Sdk, image: str, transport: str) -> None:
    package = put(emulator, "packages/trainer-1.tar.gz", _package())
    seen = json.loads(sdk(TRAINING, transport, f"{package}/trainer-1.tar.gz", image).splitlines()[-1])
    ended = ["PIPELINE_STATE_SUCCEEDED", "JOB_STATE_SUCCEEDED"]
    assert seen == {
        "container": [*ended, f"container {transport}", {"way": transport}, True],
        "package": [*ended, f"package {transport}", {"way": transport}, True],
        "alone": [*ended, None, None],
        "left": [],
    }
    for kind in ("container", "package", "alone"):
        assert read(emulator, f"gs://emulated-mlport/{transport}/{kind}/model/") == {"told.txt": f"--kind {kind} 3 0.5"}


def test_the_generated_clients_do_the_same(emulator: Ready, sdk: Sdk, image: str) -> None:
    artifacts = put(emulator, "generated/model.pkl", _of_objects())
    assert json.loads(sdk(GENERATED, artifacts, image).splitlines()[-1]) == {
        "job": ["JOB_STATE_SUCCEEDED", "NVIDIA_TESLA_T4"],
        "pipeline": ["PIPELINE_STATE_SUCCEEDED", "gs://emulated-mlport/piped/model"],
        "answer": [[True, False], True, True],
        "beta": ["aiplatform_v1beta1", "beta"],
        "left": [],
    }
    assert read(emulator, "gs://emulated-mlport/piped/model/") == {"told.txt": "gs://emulated-mlport/piped/model/"}


INVOKING = """
import json, sys
from google.cloud import aiplatform as a

a.init(project="emulated", location="us-central1", api_transport="rest")
endpoint = a.Endpoint(sys.argv[1])
body = json.dumps({"instances": [[2.0, 0.0]]}).encode()
headers = {"Content-Type": "application/json"}
asked = {"request_path": "/invocations", "body": body, "headers": headers}
deployed = endpoint.list_models()[0].id
whole = [endpoint.invoke(**asked), endpoint.invoke(**asked, deployed_model_id=deployed)]
lines = list(endpoint.invoke(**asked, stream=True))
missing = endpoint.invoke(**{**asked, "request_path": "/no/such/route"})
print(json.dumps({
    "whole": [[each.status_code, each.json()] for each in whole], "lines": [json.loads(each) for each in lines], "missing": missing.status_code,
}))
"""


def test_a_route_of_the_containers_own_is_invoked(emulator: Ready, sdk: Sdk) -> None:
    artifacts = put(emulator, "invoked/model.pkl", classifier())
    container = {"imageUri": "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"}
    closed = upload(emulator, artifacts, containerSpec=container)
    opened = upload(emulator, artifacts, containerSpec={**container, "invokeRoutePrefix": "/*"})
    where, shared, silent = (endpoint(emulator, dedicatedEndpointEnabled=dedicated) for dedicated in (True, False, True))
    for each, model in ((where, opened), (shared, opened), (silent, closed)):
        done(emulator, deploy(emulator, each, model, {"0": 100}))
    answer = {"predictions": [True]}
    seen = json.loads(sdk(INVOKING, where).splitlines()[-1])
    assert seen == {"whole": [[200, answer]] * 2, "lines": [answer], "missing": 404}
    for each, wrong in ((shared, "is not a dedicated endpoint"), (silent, "has no invoke_route_prefix")):
        code, said = refused(emulator, "POST", f"/v1/{each}/invoke/invocations", {"instances": [[2.0, 0.0]]})
        assert (code, wrong in said) == ("FAILED_PRECONDITION", True), said
    code, _ = refused(emulator, "POST", f"/v1/{where}/deployedModels/1/invoke/invocations", {})
    assert code == "NOT_FOUND"
    assert len(ask(emulator, "GET", f"{P}/endpoints")["endpoints"]) == 3
