"""What samples are run in: an emulator in a process of its own, inputs in its bucket, and what earlier samples have made."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]

PROJECT, LOCATION, BUCKET = "emulated", "us-central1", "emulated-mlport"
PARENT = f"projects/{PROJECT}/locations/{LOCATION}"
TRAINER = f"us-docker.pkg.dev/{PROJECT}/samples/train:latest"
TUNER = f"us-docker.pkg.dev/{PROJECT}/samples/tune:latest"
NOTHING = f"us-docker.pkg.dev/{PROJECT}/samples/nothing:latest"
SLEEPER = f"us-docker.pkg.dev/{PROJECT}/samples/sleep:latest"
EXECUTOR = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest"
SERVER = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
OUR_SERVER = f"us-docker.pkg.dev/{PROJECT}/mlport/server:latest"
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
SECONDS = 900.0
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ")  # of this process's environment; a sample has no other than these and the emulator's
ROWS = [{"x0": -2.0, "content": "bad"}, {"x0": 2.0, "content": "good"}]

TRAIN = """
import os, pickle, sys
from google.cloud import storage
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

rows = [{"x0": float(x), "content": "good" if x > 0 else "bad"} for x in (-3, -2, -1, 1, 2, 3)]
model = make_pipeline(DictVectorizer(sparse=False), LogisticRegression()).fit(rows, ["no", "no", "no", "yes", "yes", "yes"])
bucket, _, folder = os.environ["AIP_MODEL_DIR"].removeprefix("gs://").partition("/")
storage.Client().bucket(bucket).blob(folder + "model.pkl").upload_from_string(pickle.dumps(model))
print("trained with", sys.argv[1:])
"""
TUNE = """
import json, os, sys
given = dict(each.removeprefix("--").split("=", 1) for each in sys.argv[1:])
rate = float(given.get("lr", given.get("batch_size", 1)))
with open(os.environ["CLOUD_ML_HP_METRIC_FILE"], "w") as stream:
    for name in ("loss", "accuracy", "val_rmse"):
        value = abs(rate - 0.05) if name == "loss" else 1 / (1 + rate)
        stream.write(json.dumps({"timestamp": 0, "trial": os.environ["CLOUD_ML_TRIAL_ID"], name: str(value), "global_step": "1"}) + "\\n")
"""
ECHO = """
import mlflow
from mlflow.pyfunc import PythonModel

class Echo(PythonModel):
    def predict(self, context, model_input, params=None):
        return [{"asked": sorted(map(str, row))} for row in model_input.to_dict("records")]

mlflow.models.set_model(Echo())
"""


class RefusedError(AssertionError):
    """A call to the API was answered with an error."""


@dataclass
class Told:
    """What a sample printed, and what it said to have returned."""

    output: str
    returned: Any

    def printed(self, mark: str) -> str:
        """The rest of the first line that has the mark."""
        line = next((line for line in self.output.splitlines() if mark in line), None)
        assert line is not None, f"nothing printed with {mark!r}:\n{self.output}"
        return line.partition(mark)[2].strip().strip('"')


@dataclass
class World:
    """One emulator, as a transport's samples find it."""

    ready: Json
    folder: Path
    transport: str
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def common(self) -> Json:
        return {"project": PROJECT, "location": LOCATION}

    def named(self, text: str) -> str:
        """A display name that only this transport's samples have."""
        return f"{text} {self.transport}"

    # ---------------------------------------------------------------- the API, by plain calls

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON. Raises RefusedError."""
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.ready["url"] + path, content, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise RefusedError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    def get(self, name: str) -> Json:
        return dict(self.call("GET", f"/v1/{name}"))

    def gone(self, name: str) -> None:
        """Fails if the resource is still there."""
        try:
            found = self.get(name)
        except RefusedError as error:
            if ": 404 " in str(error):
                return
            raise
        raise AssertionError(f"it is still there: {found}")

    def find(self, kind: str, display_name: str) -> Json:
        """The newest resource with this display name."""
        wanted = f'display_name="{display_name}"'
        found = self.call("GET", f"/v1/{PARENT}/{kind}?filter={quote(wanted)}")
        assert found.get(kind), f"no {kind} named {display_name!r}"
        return dict(found[kind][0])

    def ended(self, name: str, state: str = "SUCCEEDED") -> Json:
        """The job once it has ended, in this state."""
        body = until(lambda: found if (found := self.get(name))["state"].endswith(ENDED) else None)
        assert body["state"].endswith(state), body
        return dict(body)

    def done(self, operation: Json) -> Json:
        """The response of an operation."""
        body = until(lambda: found if (found := self.get(operation["name"])).get("done") else None)
        assert "error" not in body, body
        return dict(body["response"])

    # ---------------------------------------------------------------- files

    def put(self, name: str, content: bytes) -> str:
        """Store an object; its address."""
        self.call("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name, safe='')}", content)
        return f"gs://{BUCKET}/{name}"

    def objects(self, uri: str) -> list[str]:
        """The addresses of the objects under one."""
        bucket, _, prefix = uri.removeprefix("gs://").partition("/")
        found = self.call("GET", f"/storage/v1/b/{bucket}/o?prefix={quote(prefix, safe='')}")
        return [f"gs://{bucket}/{each['name']}" for each in found.get("items", [])]

    def text(self, uri: str) -> str:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        with urllib.request.urlopen(f"{self.ready['url']}/storage/v1/b/{bucket}/o/{quote(name, safe='')}?alt=media", timeout=60) as answer:
            return str(answer.read().decode())

    # ---------------------------------------------------------------- inputs

    @property
    def script(self) -> str:
        return str(self.folder / "train.py")

    def package(self) -> str:
        """The address of an sdist whose module `trainer.task` trains, and `trainer.tune` tunes."""
        files = {
            "setup.py": "from setuptools import setup\nsetup(name='trainer', version='1', packages=['trainer'])\n",
            "trainer/__init__.py": "",
            "trainer/task.py": TRAIN,
            "trainer/tune.py": TUNE,
        }
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, text in files.items():
                entry = tarfile.TarInfo(f"trainer-1/{name}")
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        return self.put("samples/trainer-1.tar.gz", packed.getvalue())

    def artifacts(self) -> str:
        """The address of a folder with a model that takes rows like ROWS."""
        from sklearn.feature_extraction import DictVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        model = make_pipeline(DictVectorizer(sparse=False), LogisticRegression()).fit(ROWS, ["no", "yes"])
        return self.put("samples/model/model.pkl", pickle.dumps(model)).rpartition("/")[0]

    def rows(self) -> str:
        """The address of a JSONL file of ROWS."""
        return self.put("samples/rows.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS).encode())

    def table(self) -> str:
        """The address of a BigQuery table with the numbers of ROWS."""
        dataset = f"samples_{self.transport}"
        if "table" not in self.kept:
            reference, tables = {"projectId": PROJECT, "datasetId": dataset}, f"/bigquery/v2/projects/{PROJECT}/datasets/{dataset}/tables"
            self.call("POST", f"/bigquery/v2/projects/{PROJECT}/datasets", {"datasetReference": reference})
            fields = [{"name": "x0", "type": "FLOAT64"}]
            self.call("POST", tables, {"tableReference": {**reference, "tableId": "rows"}, "schema": {"fields": fields}})
            self.call("POST", f"{tables}/rows/insertAll", {"rows": [{"json": {"x0": row["x0"]}} for row in ROWS]})
            self.kept["table"] = f"bq://{PROJECT}.{dataset}.rows"
        return str(self.kept["table"])

    # ---------------------------------------------------------------- made for a sample that needs one

    def model(self, display_name: str = "given", container: Mapping[str, Any] | None = None) -> str:
        """A new model's name. `container` says more of its container."""
        spec = {"imageUri": SERVER, **(container or {})}
        model = {"displayName": display_name, "artifactUri": self.artifacts(), "containerSpec": spec}
        return str(self.done(self.call("POST", f"/v1/{PARENT}/models:upload", {"model": model}))["model"])

    def positional(self) -> str:
        """The name of a model that takes rows as arrays, which is what a table's rows become."""
        from sklearn.linear_model import LogisticRegression

        if "positional" not in self.kept:
            content = pickle.dumps(LogisticRegression().fit([[row["x0"]] for row in ROWS], ["no", "yes"]))
            artifacts = self.put("samples/positional/model.pkl", content).rpartition("/")[0]
            model = {"displayName": "positional", "artifactUri": artifacts, "containerSpec": {"imageUri": SERVER}}
            self.kept["positional"] = self.done(self.call("POST", f"/v1/{PARENT}/models:upload", {"model": model}))["model"]
        return str(self.kept["positional"])

    def echo(self) -> str:
        """The name of a new model that answers each row with an object, as AutoML's models do."""
        import mlflow.pyfunc

        folder = self.folder / f"echo-{self.transport}"
        source = self.folder / "echo.py"
        source.write_text(ECHO, encoding="utf-8")
        mlflow.pyfunc.save_model(folder, python_model=str(source), pip_requirements=[])
        files = [path for path in folder.rglob("*") if path.is_file()]
        for path in files:
            self.put(f"samples/echo/{path.relative_to(folder)}", path.read_bytes())
        model = {"displayName": "echo", "artifactUri": f"gs://{BUCKET}/samples/echo", "containerSpec": {"imageUri": OUR_SERVER}}
        return str(self.done(self.call("POST", f"/v1/{PARENT}/models:upload", {"model": model}))["model"])

    def endpoint(self, **fields: Any) -> str:
        """A new endpoint's name."""
        return str(self.done(self.call("POST", f"/v1/{PARENT}/endpoints", {"displayName": "given", **fields}))["name"])

    def deployed(self, endpoint: str, model: str) -> str:
        """Deploy a model; the endpoint's name."""
        resources = {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1}
        body = {"deployedModel": {"model": model, "dedicatedResources": resources}, "trafficSplit": {"0": 100}}
        self.done(self.call("POST", f"/v1/{endpoint}:deployModel", body))
        return endpoint

    def job(self, image: str, kind: str = "customJobs") -> str:
        """A new custom job's name."""
        pool = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1", "containerSpec": {"imageUri": image}}
        spec = {"workerPoolSpecs": [pool], "baseOutputDirectory": {"outputUriPrefix": f"gs://{BUCKET}/given"}}
        return str(self.call("POST", f"/v1/{PARENT}/{kind}", {"displayName": "given", "jobSpec": spec})["name"])

    def pipeline(self, image: str) -> str:
        """A new training pipeline's name."""
        pool = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": 1, "containerSpec": {"imageUri": image}}
        definition = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
        inputs = {"workerPoolSpecs": [pool], "baseOutputDirectory": {"outputUriPrefix": f"gs://{BUCKET}/given"}}
        body = {"displayName": "given", "trainingTaskDefinition": definition, "trainingTaskInputs": inputs}
        return str(self.call("POST", f"/v1/{PARENT}/trainingPipelines", body)["name"])

    def tuning(self) -> str:
        """A new tuning job's name; its trials wait until they are ended."""
        pool = {"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1", "containerSpec": {"imageUri": SLEEPER}}
        study = {
            "metrics": [{"metricId": "loss", "goal": "MINIMIZE"}],
            "parameters": [{"parameterId": "lr", "doubleValueSpec": {"minValue": 0.1, "maxValue": 1}}],
        }
        body = {
            "displayName": "given",
            "studySpec": study,
            "maxTrialCount": 2,
            "parallelTrialCount": 1,
            "trialJobSpec": {"workerPoolSpecs": [pool]},
        }
        return str(self.call("POST", f"/v1/{PARENT}/hyperparameterTuningJobs", body)["name"])

    def batch(self) -> str:
        """A new batch prediction job's name."""
        body = {
            "displayName": "given",
            "model": self.kept["model"],
            "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [self.rows()]}},
            "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": f"gs://{BUCKET}/given"}},
            "dedicatedResources": {"machineSpec": {"machineType": "n1-standard-2"}},
        }
        return str(self.call("POST", f"/v1/{PARENT}/batchPredictionJobs", body)["name"])

    def run(self, sample: Path, arguments: Mapping[str, Any]) -> Told:
        """Call a sample in a process of its own. Raises AssertionError with all that it said if it ends with an error."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        done = subprocess.run(
            [sys.executable, "-I", str(Path(__file__).with_name("call.py")), str(sample), self.transport, f"gs://{BUCKET}"],
            input=json.dumps(dict(arguments)),
            env={**kept, "HOME": str(self.folder), **self.ready["env"]},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        *_, last = done.stdout.splitlines()
        return Told(done.stdout, json.loads(last)["returned"])


def until(look: Callable[[], Any], seconds: float = 300) -> Any:
    """What the look gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} seconds"
        time.sleep(0.1)
    return found


@contextmanager
def emulated(folder: Path) -> Iterator[Json]:
    """`mlport emulate vertex` in a process of its own, and the line that it prints. What it made is forgotten at the end."""
    for name, text in (("train.py", TRAIN), ("tune.py", TUNE)):
        folder.joinpath(name).write_text(text, encoding="utf-8")
    commands = {
        TRAINER: ["python3", f"{folder}/train.py"],
        TUNER: ["python3", "-S", f"{folder}/tune.py"],
        NOTHING: ["true"],
        SLEEPER: ["python3", "-S", "-c", "import time; time.sleep(600)"],
    }
    mlport = Path(sys.executable).with_name("mlport")
    with subprocess.Popen([str(mlport), "emulate", "vertex"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            place = Path(ready["env"]["GOOGLE_APPLICATION_CREDENTIALS"]).parents[1]
            mapped = "".join(f"{json.dumps(image)} = {json.dumps(command)}\n" for image, command in commands.items())
            place.joinpath("images.toml").write_text(mapped, encoding="utf-8")
            yield ready
        finally:
            process.terminate()
            process.wait(120)
