"""The cloud storage of one version, reached with the credentials that Unity Catalog hands out for it alone.

Which cloud's they are is told by the field that is set: mlflow/utils/_unity_catalog_utils.py,
`_get_artifact_repo_from_storage_info`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import SplitResult, urlsplit

from mlport.errors import UnsupportedError
from mlport.spi import Json
from mlport.transfer import RETRIES
from mlport_databricks.registry.model_request import API
from mlport_databricks.workspace.buckets import client_options

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from mlport_databricks.config import DatabricksConfig
    from mlport_databricks.workspace.connection import Connection

Access = Literal["READ", "READ_WRITE"]
ENCRYPTION = {"AWS_SSE_S3": "AES256", "AWS_SSE_KMS": "aws:kms"}
DEFAULT_STORAGE = (
    "Databricks keeps this catalog's files in storage of its own, which gives clients no credentials; use a catalog with storage of yours"
)


def open_storage(connection: Connection, name: str, version: str, location: str, access: Access) -> ObjectStore:
    """The store whose root is the version's folder. New credentials are asked for before the old ones end.

    Raises:
        UnsupportedError: the catalog is on default storage, or the credentials are for a store that is not known here.
    """

    def ask() -> Json:
        body = {"name": name, "version": version, "operation": f"MODEL_VERSION_OPERATION_{access}"}
        answer = connection.call(
            "POST", f"{API}/model-versions/generate-temporary-credentials", operation="models.credentials", body=body, repeatable=True
        )
        found: Json = answer["credentials"]
        return found

    first = ask()
    url = urlsplit(location)
    for kind, make in _STORES.items():
        if kind in first:
            return make(connection.config, url, first, _Provider(kind, first, ask))
    told = (
        DEFAULT_STORAGE if first.get("storage_mode") == "DEFAULT_STORAGE" else f"credentials of an unknown kind: {', '.join(sorted(first))}"
    )
    raise UnsupportedError("databricks", [("model.register" if access == "READ_WRITE" else "model.download", f"absent: {told}")])


class _Provider:
    """Credentials as obstore asks for them, which is again when they are about to end."""

    def __init__(self, kind: str, first: Json, ask: Callable[[], Json]) -> None:
        self._kind, self._next, self._ask = kind, first, ask
        self._used = False

    def __call__(self) -> Any:
        found = self._ask() if self._used else self._next
        self._used = True
        given = found[self._kind]
        ends = found.get("expiration_time")
        expires = {"expires_at": datetime.fromtimestamp(int(ends) / 1000, UTC) if ends else None}
        if self._kind == "gcp_oauth_token":
            return {"token": given["oauth_token"], **expires}
        if self._kind == "azure_user_delegation_sas":
            return {"sas_token": given["sas_token"], **expires}
        keys = {"access_key_id": given["access_key_id"], "secret_access_key": given["secret_access_key"]}
        return {**keys, "token": given["session_token"], **expires}


def _s3(config: DatabricksConfig, url: SplitResult, credentials: Json, provider: _Provider) -> ObjectStore:
    from obstore.store import S3Store

    encryption = credentials.get("encryption_details", {}).get("sse_encryption_details", {})
    more: Any = {}
    if algorithm := ENCRYPTION.get(encryption.get("algorithm", "")):
        more["server_side_encryption"] = algorithm
    if key := encryption.get("aws_kms_key_arn"):
        more["sse_kms_key_id"] = key
    return S3Store(
        url.netloc,
        prefix=url.path.strip("/") or None,
        region=config.region,
        credential_provider=provider,
        client_options=client_options(config),
        retry_config=RETRIES,
        **more,
    )


def _r2(config: DatabricksConfig, url: SplitResult, credentials: Json, provider: _Provider) -> ObjectStore:
    """`r2://BUCKET@ACCOUNT.r2.cloudflarestorage.com/PATH`: mlflow/store/artifact/r2_artifact_repo.py."""
    from obstore.store import S3Store

    bucket, _, host = url.netloc.partition("@")
    return S3Store(
        bucket,
        prefix=url.path.strip("/") or None,
        endpoint=f"https://{host}",
        region="auto",
        credential_provider=provider,
        client_options=client_options(config),
        retry_config=RETRIES,
    )


def _azure(config: DatabricksConfig, url: SplitResult, credentials: Json, provider: _Provider) -> ObjectStore:
    """`abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH`."""
    from obstore.store import AzureStore

    container, _, host = url.netloc.partition("@")
    return AzureStore(
        container,
        prefix=url.path.strip("/") or None,
        account_name=host.partition(".")[0],
        credential_provider=provider,
        client_options=client_options(config),
        retry_config=RETRIES,
    )


def _gcs(config: DatabricksConfig, url: SplitResult, credentials: Json, provider: _Provider) -> ObjectStore:
    from obstore.store import GCSStore

    return GCSStore(
        url.netloc,
        prefix=url.path.strip("/") or None,
        credential_provider=provider,
        client_options=client_options(config),
        retry_config=RETRIES,
    )


_STORES: dict[str, Callable[[DatabricksConfig, SplitResult, Json, _Provider], ObjectStore]] = {
    "aws_temp_credentials": _s3,
    "azure_user_delegation_sas": _azure,
    "gcp_oauth_token": _gcs,
    "r2_temp_credentials": _r2,
}
