"""A version's storage on each cloud: which store its credentials open, and that they are asked for anew before they end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mlport.errors import UnsupportedError
from mlport_databricks.config import DatabricksConfig
from mlport_databricks.registry.model_storage import _Provider, open_storage

CONFIG = DatabricksConfig.model_validate(
    {
        "host": "acme.cloud.databricks.com",
        "catalog": "main",
        "schema": "ml",
        "state": "s3://acme/mlport",
        "region": "eu-central-1",
        "token": "t",
    }
)
KEYS = {"access_key_id": "a", "secret_access_key": "s", "session_token": "t"}
ENDS = datetime(2026, 1, 1, tzinfo=UTC)


class Registry:
    """Hands out credentials as the registry does; there is no Azure or Google Cloud to ask here."""

    config = CONFIG

    def __init__(self, credentials: dict[str, Any]) -> None:
        self._credentials = credentials
        self.asked: list[Any] = []

    def call(self, verb: str, path: str, **options: Any) -> dict[str, Any]:
        self.asked.append((verb, path.rpartition("/")[2], options["body"]))
        return {"credentials": {**self._credentials, "expiration_time": str(int(ENDS.timestamp() * 1000))}}


@pytest.mark.parametrize(
    ("credentials", "location", "store", "prefix"),
    [
        ({"aws_temp_credentials": KEYS}, "s3://bucket/models/m/1", "S3Store", "models/m/1"),
        (
            {
                "aws_temp_credentials": KEYS,
                "encryption_details": {"sse_encryption_details": {"algorithm": "AWS_SSE_KMS", "aws_kms_key_arn": "arn:aws:kms:key"}},
            },
            "s3://bucket/m",
            "S3Store",
            "m",
        ),
        ({"r2_temp_credentials": KEYS}, "r2://bucket@account.r2.cloudflarestorage.com/m/1", "S3Store", "m/1"),
        ({"azure_user_delegation_sas": {"sas_token": "sig=x"}}, "abfss://box@acme.dfs.core.windows.net/m/1", "AzureStore", "m/1"),
        ({"gcp_oauth_token": {"oauth_token": "ya29"}}, "gs://bucket/m/1", "GCSStore", "m/1"),
    ],
)
def test_each_cloud_has_its_store(credentials: dict[str, Any], location: str, store: str, prefix: str) -> None:
    registry = Registry(credentials)
    opened = open_storage(registry, "main.ml.m", "1", location, "READ_WRITE")  # type: ignore[arg-type]
    assert (type(opened).__name__, opened.prefix) == (store, prefix)
    body = {"name": "main.ml.m", "version": "1", "operation": "MODEL_VERSION_OPERATION_READ_WRITE"}
    assert registry.asked == [("POST", "generate-temporary-credentials", body)]


def test_storage_that_gives_no_credentials_is_said_to_be_so() -> None:
    for credentials, said in (
        ({"storage_mode": "DEFAULT_STORAGE"}, "storage of its own"),
        ({"new_token": {}}, "unknown kind: .*new_token"),
    ):
        with pytest.raises(UnsupportedError, match=said):
            open_storage(Registry(credentials), "main.ml.m", "1", "s3://bucket/m", "READ")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("aws_temp_credentials", KEYS, {"access_key_id": "a", "secret_access_key": "s", "token": "t"}),
        ("azure_user_delegation_sas", {"sas_token": "sig=x"}, {"sas_token": "sig=x"}),
        ("gcp_oauth_token", {"oauth_token": "ya29"}, {"token": "ya29"}),
    ],
)
def test_credentials_are_asked_for_again_when_they_are_about_to_end(kind: str, given: dict[str, str], expected: dict[str, str]) -> None:
    asked = []

    def ask() -> dict[str, Any]:
        asked.append(kind)
        return {kind: given, "expiration_time": int(ENDS.timestamp() * 1000)}

    provider = _Provider(kind, ask(), ask)
    for times in (1, 2, 3):
        assert provider() == {**expected, "expires_at": ENDS}
        assert len(asked) == times
