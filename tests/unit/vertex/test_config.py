"""Profiles of Vertex AI: what a URL and a table become, and what is refused with the field's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlport.errors import ConfigError
from mlport_vertex.config import VertexConfig

WHOLE = {"project": "acme-ml", "location": "europe-west4", "staging": "gs://acme-ml/mlport"}


def load(**fields: Any) -> VertexConfig:
    return VertexConfig.load({**WHOLE, **fields}, where="profile")


def test_a_url_is_a_profile() -> None:
    config = VertexConfig.from_url(
        "vertex://acme-ml/europe-west4?staging=gs://acme-ml/mlport/&transport=grpc&proxy=http%3A%2F%2F127.0.0.1%3A1"
    )
    assert (config.project, config.location, config.staging) == ("acme-ml", "europe-west4", "gs://acme-ml/mlport")
    assert (config.transport, config.proxy) == ("grpc", "http://127.0.0.1:1")
    assert config.target == "vertex://acme-ml/europe-west4"
    assert config.parent == "projects/acme-ml/locations/europe-west4"
    assert config.host == "europe-west4-aiplatform.googleapis.com"


def test_state_lies_under_staging_unless_it_is_said_where() -> None:
    assert load().state == "gs://acme-ml/mlport/state"
    assert load(state="gs://other/state/").state == "gs://other/state"


def test_paths_are_meant_from_the_folder_of_the_file(tmp_path: Path) -> None:
    config = VertexConfig.load({**WHOLE, "ca": "ca.pem", "credentials": "key.json"}, where="profile", base=tmp_path)
    assert (config.ca, config.credentials) == (tmp_path / "ca.pem", tmp_path / "key.json")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"project": ""}, "project"),
        ({"location": "Europe"}, "location"),
        ({"staging": "s3://bucket"}, "staging"),
        ({"staging": "gs://"}, "staging"),
        ({"state": "/tmp"}, "state"),
        ({"transport": "http"}, "transport"),
        ({"network": "default"}, "projects/NUMBER/global/networks/NAME"),
        ({"encryption_key": "key"}, "cryptoKeys"),
        ({"service_account": "ada"}, "service_account"),
        ({"capture_dataset": "a-b"}, "capture_dataset"),
        ({"stagging": "x"}, "did you mean 'staging'"),
    ],
)
def test_what_cannot_work_is_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(**fields)


@pytest.mark.parametrize("url", ["vertex:///nowhere", "vertex://acme-ml", "vertex://acme-ml/a/b"])
def test_a_url_without_project_or_location_says_how_it_is_written(url: str) -> None:
    with pytest.raises(ConfigError, match="vertex://PROJECT/LOCATION"):
        VertexConfig.from_url(url)


def test_neither_proxy_nor_credentials_are_shown() -> None:
    shown = repr(load(proxy="http://ann:secret@proxy:1", credentials="/secret/key.json"))
    assert "secret" not in shown
