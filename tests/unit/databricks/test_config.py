"""The configuration: its URL form, what the host tells, and each mistake by its field."""

from __future__ import annotations

import pytest

from mlport.capabilities import Capability, Level
from mlport.errors import ConfigError
from mlport_databricks import PROVIDER
from mlport_databricks.config import DatabricksConfig

GOOD = {"host": "acme.cloud.databricks.com", "catalog": "main", "schema": "ml", "state": "s3://acme-ml/mlport/", "region": "eu-central-1"}


def load(**fields: object) -> DatabricksConfig:
    given = {key: value for key, value in {**GOOD, **fields}.items() if value is not None}
    return DatabricksConfig.load(given, where="test")


def test_a_url_and_a_table_are_the_same() -> None:
    url = "databricks://acme.cloud.databricks.com/main/ml?state=s3://acme-ml/mlport&region=eu-central-1"
    by_url = DatabricksConfig.from_url(url, profile="x")
    assert by_url == load(profile="x")
    assert by_url.target == "databricks://acme.cloud.databricks.com/main/ml"
    assert (by_url.url, by_url.namespace, by_url.staging) == ("https://acme.cloud.databricks.com", "main.ml", "/Volumes/main/ml/mlport")
    assert DatabricksConfig.from_url(url).profile == url


@pytest.mark.parametrize(
    ("host", "cloud"),
    [
        ("dbc-1.cloud.databricks.com", "aws"),
        ("adb-1.2.azuredatabricks.net", "azure"),
        ("1.2.gcp.databricks.com", "gcp"),
        ("https://DBC-1.cloud.databricks.com/", "aws"),
    ],
)
def test_the_host_tells_the_cloud(host: str, cloud: str) -> None:
    assert load(host=host).cloud == cloud
    assert load(host=host).host == host.removeprefix("https://").rstrip("/").lower()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"host": "databricks.example.com"}, "cloud"),
        ({"host": None}, "host|cloud"),
        ({"catalog": "Main"}, "catalog"),
        ({"schema": None}, "schema"),
        ({"state": "http://x/y"}, "state"),
        ({"tier": "free"}, "tier"),
        ({"client_id": "a"}, "client_id and client_secret"),
        ({"token": "t", "sdk_profile": "p"}, "only one way to sign in"),
        ({"state_access_key": "a"}, "state_access_key and state_secret_key"),
        ({"instance_profile": "arn:aws:x", "host": "adb-1.2.azuredatabricks.net"}, "instance_profile"),
        ({"warehouse": "w"}, "warehouse_id"),
        ({"runner_folder": "/Users/me"}, "runner_folder"),
    ],
)
def test_each_mistake_is_named(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(**fields)


@pytest.mark.parametrize("url", ["databricks://", "databricks://h", "databricks://h/c", "databricks://h/c/s/t", "databricks://t@h/c/s"])
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="HOST/CATALOG/SCHEMA"):
        DatabricksConfig.from_url(f"{url}?state=s3://acme-ml/m&region=r")


def test_secrets_are_shown_nowhere() -> None:
    secret = {"token": "dapi-s3cret", "state_access_key": "AKIA", "state_secret_key": "k-s3cret", "state_session_token": "s-s3cret"}
    config = load(**secret)
    assert "s3cret" not in repr(config) + config.target
    query = "&".join(f"{name}={value}" for name, value in {**secret, "client_secret": "", "region": "r", "state": "s3://acme-ml/m"}.items())
    named = DatabricksConfig.from_url(f"databricks://acme.cloud.databricks.com/main/ml?{query}")
    assert "s3cret" not in named.profile
    assert "region=r" in named.profile


def test_every_field_says_what_it_is() -> None:
    assert not [name for name, field in DatabricksConfig.model_fields.items() if not field.description]


def test_what_is_read_from_tables_needs_a_warehouse() -> None:
    without, with_one = (PROVIDER.supports(config)[Capability.ENDPOINT_CAPTURE] for config in (load(), load(warehouse_id="abc")))
    assert without.level is Level.ABSENT
    assert "warehouse_id" in without.detail
    assert with_one.available
