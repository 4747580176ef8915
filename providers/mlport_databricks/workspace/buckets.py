"""The bucket of the shared state, in the profile's own cloud: conditional writes are the bucket's, not Databricks' (docs/spi/databricks.md, (h))."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlport.transfer import RETRIES

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from mlport_databricks.config import DatabricksConfig


def client_options(config: DatabricksConfig) -> dict[str, Any]:
    """How obstore reaches any store of this profile: its proxy and its authorities."""
    options: dict[str, Any] = {"timeout": timedelta(hours=1), "read_timeout": timedelta(seconds=60)}
    if config.proxy:
        options["proxy_url"] = config.proxy
    if config.ca:
        options["root_certificate"] = config.ca.read_bytes()
    return options


def state_store(config: DatabricksConfig) -> tuple[ObjectStore, str]:
    """The store of the state's bucket and the folder in it. Keys not in the profile are the environment's or the machine's own."""
    url = urlsplit(config.state)
    makers = {"s3": _s3, "gs": _gcs, "abfss": _azure}
    return makers[url.scheme](config, url.netloc), url.path.strip("/")


def _s3(config: DatabricksConfig, bucket: str) -> ObjectStore:
    from obstore.store import S3Store

    keys = {
        "access_key_id": config.state_access_key,
        "secret_access_key": config.state_secret_key,
        "session_token": config.state_session_token,
        "region": config.region if config.cloud == "aws" else None,
    }
    given: Any = {name: value for name, value in keys.items() if value}
    return S3Store(bucket, client_options=client_options(config), retry_config=RETRIES, **given)


def _gcs(config: DatabricksConfig, bucket: str) -> ObjectStore:
    from obstore.store import GCSStore

    given: Any = {"service_account": str(config.state_credentials)} if config.state_credentials else {}
    return GCSStore(bucket, client_options=client_options(config), retry_config=RETRIES, **given)


def _azure(config: DatabricksConfig, place: str) -> ObjectStore:
    """`place` is CONTAINER@ACCOUNT.dfs.core.windows.net."""
    from obstore.store import AzureStore

    container, _, host = place.partition("@")
    given: Any = {"account_key": config.state_account_key} if config.state_account_key else {}
    return AzureStore(container, account_name=host.partition(".")[0], client_options=client_options(config), retry_config=RETRIES, **given)
