"""The conformance suite on a real Google Cloud project. docs/live.md says how to run it, and what it costs."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from live.account import Live, without_secrets

import mlport
from mlport.waiting import delays, wait_until
from mlport_vertex.google.api import VertexApi

PREFIX = "MLPORT_LIVE_VERTEX_"
NEEDED = ("PROJECT", "LOCATION", "STAGING")
FIELDS = ("STAGING", "SERVICE_ACCOUNT", "SERVER_IMAGE", "IMAGE", "CREDENTIALS", "TRANSPORT", "PROXY", "CA")
MINUTES, JOB_SECONDS = 180.0, 1800.0
REQUIREMENTS = "mlflow-skinny,scikit-learn==1.6.1,pandas"  # what jobs install to train a model in Google's image
SWEEP_SECONDS = 1800.0

missing = [PREFIX + name for name in NEEDED if not os.environ.get(PREFIX + name)]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"costs money on a real project; set {', '.join(missing)} (docs/live.md)")


def given(name: str, default: str = "") -> str:
    return os.environ.get(PREFIX + name, default)


@pytest.fixture
def live() -> Live:
    fields = {name.lower(): given(name) or None for name in FIELDS}
    return Live.of(f"vertex://{given('PROJECT')}/{given('LOCATION')}", secrets.token_hex(4), **fields)


def test_the_suite_passes_and_nothing_is_left(live: Live, tmp_path: Path) -> None:
    words = [f"--job-seconds={given('JOB_SECONDS', str(JOB_SECONDS))}", f"--job-requirements={given('REQUIREMENTS', REQUIREMENTS)}"]
    words += ["-k", chosen] if (chosen := given("TESTS")) else []
    words += [f"--other-profile={other}"] if (other := given("OTHER")) else []
    print(f"{without_secrets(live.target)} as {live.owner}")
    try:
        status, said = live.suite(tmp_path / "run", words, 60 * float(given("MINUTES", str(MINUTES))))
    finally:
        left = [*live.sweep(SWEEP_SECONDS), *remove_files_and_models(live)]
    assert not left, f"remove by hand: {', '.join(left)}"
    assert status == 0, said[-4000:]


def remove_files_and_models(live: Live) -> list[str]:
    """Models whose files are in the run's folder, then the folder: what `mlport cleanup` never touches. What is left of them."""
    with mlport.connect(live.target) as client:
        folder, api = f"{client.config.staging}/", client.session.api
        for name in models_below(api, folder):
            api.call("models.delete", name=name)
        left = wait_until(lambda: models_below(api, folder), lambda found: not found, pauses=delays(), timeout=SWEEP_SECONDS, what="models")
        api.objects.delete_below(folder)
        return [*left, *(uri for uri, _ in api.objects.list(folder))]


def models_below(api: VertexApi, folder: str) -> list[str]:
    """The names of the models whose files are in a folder."""
    found, token = [], None
    while token != "":
        page = api.call("models.list", pageToken=token)
        found += [model["name"] for model in page.get("models", []) if model.get("artifactUri", "").startswith(folder)]
        token = page.get("nextPageToken", "")
    return found
