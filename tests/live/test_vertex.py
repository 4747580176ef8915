"""The conformance suite on a real Google Cloud project. docs/live.md says how to run it, and what it costs."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from live.account import SWEEP_SECONDS, Given, Live, check

import mlport
from mlport.waiting import delays, wait_until
from mlport_vertex.google.api import VertexApi

GIVEN = Given("MLPORT_LIVE_VERTEX_")
FIELDS = ("STAGING", "SERVICE_ACCOUNT", "SERVER_IMAGE", "IMAGE", "CREDENTIALS", "TRANSPORT", "PROXY", "CA")
MINUTES = 180.0
REQUIREMENTS = "mlflow-skinny,scikit-learn==1.6.1,pandas"  # what jobs install to train a model in Google's image

missing = GIVEN.missing("PROJECT", "LOCATION", "STAGING")
pytestmark = pytest.mark.skipif(bool(missing), reason=f"costs money on a real project; set {missing} (docs/live.md)")


def test_the_suite_passes_and_nothing_is_left(tmp_path: Path) -> None:
    live = Live.of(f"vertex://{GIVEN('PROJECT')}/{GIVEN('LOCATION')}", secrets.token_hex(4), **GIVEN.fields(*FIELDS))
    check(live, GIVEN, tmp_path, minutes=MINUTES, requirements=REQUIREMENTS, remove=remove_files_and_models)


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
