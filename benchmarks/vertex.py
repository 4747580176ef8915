"""Submit and get, and from process start to the first job listed: mlport beside Google's high-level SDK, on the same emulator.

Both submit the same script: ours as a source folder, through journal, bundle and runner; the SDK's with
`CustomJob.from_local_script`, which uploads it, too. Each run is a process of its own, which tells its own seconds; requests
are those that reach the emulator meanwhile; the jobs of one run have ended before the next begins, for they ask, too.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Mapping

from _measure import Goal
from _sdk import beside, times

from mlport.emulation.server import Ready
from mlport_vertex.emulator import EMULATOR

ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED")
OURS = """
import sys, time, json
import mlport
from mlport import JobSpec
from pathlib import Path
target, what, folder = sys.argv[1:]
with mlport.connect(target) as ml:
    if what == "list":
        next(iter(ml.jobs.list()))
    else:
        ml.session.api.connection.http  # credentials are read by both before the clock runs
        began = time.perf_counter()
        job = ml.jobs.submit(JobSpec(name="bench", source=folder, entrypoint=("python", "main.py")))
        ml.jobs.get(job.id)
        print(time.perf_counter() - began)
"""
THEIRS = """
import sys, time, json
from pathlib import Path
from google.cloud import aiplatform
target, what, folder = sys.argv[1:]
aiplatform.init(project="emulated", location="us-central1", staging_bucket="gs://emulated-mlport", api_transport=%r)
if what == "list":
    aiplatform.CustomJob.list()[0]
else:
    aiplatform.initializer.global_config.credentials
    began = time.perf_counter()
    job = aiplatform.CustomJob.from_local_script(
        display_name="bench", script_path=folder + "/main.py", container_uri="us-docker.pkg.dev/vertex-ai/training/sklearn-cpu.1-6:latest")
    job.submit()
    aiplatform.CustomJob.get(job.resource_name)
    print(time.perf_counter() - began)
"""
PROGRAMS = {"mlport": OURS, "sdk rest": THEIRS % "rest", "sdk grpc": THEIRS % "grpc"}


def busy(ready: Ready) -> bool:
    """Whether a custom job is not over."""
    address = f"{ready.urls['vertex']}/v1/projects/emulated/locations/us-central1/customJobs?pageSize=1000"
    with urllib.request.urlopen(address, timeout=30) as answer:
        return any(job["state"] not in ENDED for job in json.load(answer).get("customJobs", []))


def goals(found: Mapping[str, float]) -> list[Goal]:
    peer = "sdk rest"
    return [
        times(found, peer, "submit", "seconds", 1.0),
        times(found, peer, "submit", "requests", 1.0),
        times(found, peer, "list", "seconds", 0.5),
    ]


if __name__ == "__main__":
    sys.exit(beside(__doc__, EMULATOR, PROGRAMS, busy, goals))
