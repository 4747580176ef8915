"""Google's own high-level SDK, unmodified and with nothing but the environment, trains here: over REST and over gRPC."""

from __future__ import annotations

import json

import pytest
from aids.vertex.place import Sdk

PROGRAM = '''
import json, logging, pathlib, sys, tempfile, textwrap
from google.cloud import aiplatform
from google.cloud.aiplatform import hyperparameter_tuning as hpt, jobs, training_jobs

jobs._JOB_WAIT_TIME = training_jobs._JOB_WAIT_TIME = 0.1
logging.disable(logging.INFO)
transport = sys.argv[1]
aiplatform.init(project="emulated", location="us-central1", staging_bucket="gs://emulated-mlport", api_transport=transport)
script = pathlib.Path(tempfile.mkdtemp()) / "task.py"
script.write_text(textwrap.dedent("""
    import json, os, sys
    from google.cloud import storage
    folder = os.environ["AIP_MODEL_DIR"].removeprefix("gs://")
    bucket, _, prefix = folder.partition("/")
    storage.Client().bucket(bucket).blob(prefix + "model.json").upload_from_string(json.dumps(sys.argv[1:]))
    print("trained", *sys.argv[1:])
"""))
EXECUTOR = "us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest"
SERVER = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest"
found = {}

local = aiplatform.CustomJob.from_local_script(
    display_name=f"local {transport}", script_path=str(script), container_uri=EXECUTOR, args=["--depth=3"], replica_count=1,
    machine_type="n1-standard-4", labels={"way": transport}, base_output_dir=f"gs://emulated-mlport/{transport}/local",
)
local.run(timeout=300)
found["local"] = [local.state.name, local.display_name, dict(local.labels)]

training = aiplatform.CustomTrainingJob(
    display_name=f"training {transport}", script_path=str(script), container_uri=EXECUTOR, model_serving_container_image_uri=SERVER
)
model = training.run(args=["--depth=4"], base_output_dir=f"gs://emulated-mlport/{transport}/training", model_display_name="trained")
found["training"] = [training.state.name, model.display_name, model.uri, model.version_id, model.gca_resource.training_pipeline == training.resource_name]

trial = """
import json, os, sys
x = float(sys.argv[1].removeprefix("--x="))
with open(os.environ["CLOUD_ML_HP_METRIC_FILE"], "w") as stream:
    for step in (1, 2):
        value = -(x - 3) ** 2 - 1 / step
        stream.write(json.dumps({"timestamp": 0, "trial": os.environ["CLOUD_ML_TRIAL_ID"], "score": str(value), "global_step": str(step)}) + "\\\\n")
"""
container = {"image_uri": "python:3.11", "command": ["python3", "-S", "-c", trial]}
pools = [{"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1, "container_spec": container}]
tuning = aiplatform.HyperparameterTuningJob(
    display_name=f"tuning {transport}", custom_job=aiplatform.CustomJob(display_name="trial", worker_pool_specs=pools),
    metric_spec={"score": "maximize"}, parameter_spec={"x": hpt.IntegerParameterSpec(min=0, max=4, scale="linear")},
    max_trial_count=5, parallel_trial_count=2, search_algorithm="grid",
)
tuning.run()
best = max(tuning.trials, key=lambda each: each.final_measurement.metrics[0].value)
found["tuning"] = [tuning.state.name, len(tuning.trials), {each.state.name for each in tuning.trials} == {"SUCCEEDED"}, best.parameters[0].value]
found["steps"] = [[each.step_count, each.metrics[0].value] for each in best.measurements]

found["listed"] = sorted(each.display_name for each in aiplatform.CustomJob.list(filter=f"labels.way={transport}"))
for each in (local, training, tuning):
    each.delete()
print(json.dumps(found))
'''


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_training_in_three_kinds(sdk: Sdk, transport: str) -> None:
    found = json.loads(sdk(PROGRAM, transport).splitlines()[-1])
    assert found == {
        "local": ["JOB_STATE_SUCCEEDED", f"local {transport}", {"way": transport}],
        "training": ["PIPELINE_STATE_SUCCEEDED", "trained", f"gs://emulated-mlport/{transport}/training/model", "1", True],
        "tuning": ["JOB_STATE_SUCCEEDED", 5, True, 3.0],
        "steps": [[1, -1.0], [2, -0.5]],
        "listed": [f"local {transport}"],
    }
