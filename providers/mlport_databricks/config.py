"""Configuration of a Databricks profile: one schema of one workspace, and where mlport keeps its files and its state."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from mlport.config import Config
from mlport.errors import ConfigError
from mlport.fields import Duration

Cloud = Literal["aws", "azure", "gcp"]
CLOUDS: tuple[tuple[str, Cloud], ...] = (  # databricks/sdk/environments.py, ALL_ENVS
    (".gcp.databricks.com", "gcp"),
    (".azuredatabricks.net", "azure"),
    (".databricks.azure.us", "azure"),
    (".databricks.azure.cn", "azure"),
    (".cloud.databricks.com", "aws"),
    (".cloud.databricks.us", "aws"),
    (".cloud.databricks.mil", "aws"),
)
STATE_URL = (
    r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]|gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]|abfss://[a-z0-9-]{3,63}@[a-z0-9.-]+)(/[^/\s]+)*/?$"
)
SECRETS = ("token", "client_secret", "state_secret_key", "state_session_token", "state_account_key")
EXAMPLE = "databricks://my-workspace.cloud.databricks.com/main/ml?state=s3://my-bucket/mlport&region=eu-central-1"

Part = Annotated[str, Field(pattern=r"^[a-z0-9_][a-z0-9_-]{0,254}$")]  # Unity Catalog lower-cases names
Secret = Annotated[str | None, Field(repr=False)]


class DatabricksConfig(Config):
    """Databricks: runs on clusters or serverless, models in Unity Catalog, Model Serving."""

    model_config = ConfigDict(populate_by_name=True)
    scheme: ClassVar[str] = "databricks"

    host: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")
    """The workspace's host, such as `dbc-a1b2345c-d6e7.cloud.databricks.com`."""
    catalog: Part
    """The catalog of Unity Catalog that models, tables and the volume are in."""
    schema_: Part = Field(alias="schema")
    """The schema in it. Written `schema`."""
    volume: Part = "mlport"
    """The volume in that schema which holds what jobs need and leave."""
    state: str = Field(pattern=STATE_URL)
    """A folder for mlport's own shared state, in a bucket: `s3://`, `gs://` or `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/`."""
    cloud: Cloud = "aws"
    """The cloud that the workspace is in; read off the host where that tells."""
    region: str = Field(pattern=r"^[a-z0-9-]+$")
    """The workspace's region, as its cloud names it. Prices go by it, and so does S3 for the state."""
    tier: Literal["standard", "premium", "enterprise"] = "premium"
    """The workspace's pricing tier."""
    warehouse_id: str | None = Field(None, pattern=r"^[A-Za-z0-9-]+$")
    """The SQL warehouse that reads captured requests. Without one they cannot be read, nor can what lies further back than a minute be observed."""
    capture_lag: Duration = timedelta(hours=1)
    """How long after a request its row may still come to the inference table: within an hour, as far as it can, says Databricks."""
    token: Secret = None
    """A personal access token. If neither it nor client_id is set, the SDK's own sign-in: environment, `~/.databrickscfg`, Azure, OAuth."""
    client_id: str | None = None
    """The client id of a service principal that signs in by OAuth; with client_secret."""
    client_secret: Secret = None
    """Its secret."""
    sdk_profile: str | None = None
    """A profile of `~/.databrickscfg` to sign in with."""
    runner_folder: str = Field("/Workspace/Shared/mlport", pattern=r"^/Workspace(/[^/\s]+)+$")
    """The workspace folder of mlport's runner, which jobs must be able to read: one in a user's home where Shared is closed."""
    spark_version: str = "16.4.x-scala2.12"
    """The Databricks Runtime of new clusters."""
    node_type: str | None = None
    """The node type of new clusters, instead of the cheapest that satisfies `compute`."""
    policy_id: str | None = None
    """The cluster policy that new clusters obey."""
    instance_profile: str | None = Field(None, pattern=r"^arn:[^\s]+$")
    """AWS: the instance profile of new clusters."""
    usage_policy_id: str | None = None
    """The usage (budget) policy that serverless runs and endpoints are billed by."""
    run_as: str | None = None
    """The application id of the service principal that jobs run as; whoever submits them if not set."""
    secret_scope: str | None = Field(None, pattern=r"^[A-Za-z0-9_.@-]{1,128}$")
    """The secret scope that holds the secrets of jobs until they have ended. Whoever may read it can read them."""
    proxy: str | None = Field(None, repr=False)
    """An HTTP proxy for everything; that of the environment if not set. The SDK's own sign-in goes by the environment only."""
    ca: Path | None = None
    """A PEM file of the authorities to trust; the system's if not set."""
    state_access_key: str | None = None
    """S3: the access key for the state's bucket; the environment's or the machine's own if not set."""
    state_secret_key: Secret = None
    """S3: its secret."""
    state_session_token: Secret = None
    """S3: its session token, if it is a temporary one."""
    state_account_key: Secret = None
    """Azure: the storage account's key; the environment's or the machine's own identity if not set."""
    state_credentials: Path | None = Field(None, repr=False)
    """Google Cloud: a service account's file; Application Default Credentials if not set."""

    @model_validator(mode="before")
    @classmethod
    def _cloud_of_host(cls, table: Any) -> Any:
        """`cloud` from the host; where neither tells, the field's error says so."""
        if not isinstance(table, dict) or table.get("cloud"):
            return table
        found = cloud_of(str(table.get("host", "")))
        if found is None:
            raise ValueError("cloud: the host does not tell it; set aws, azure or gcp")
        return {**table, "cloud": found}

    @field_validator("host", mode="before")
    @classmethod
    def _bare_host(cls, value: Any) -> Any:
        return value.removeprefix("https://").rstrip("/").lower() if isinstance(value, str) else value

    @field_validator("ca", "state_credentials", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        base = (info.context or {}).get("base") or Path.cwd()
        return (base / value.expanduser()).absolute() if value else None

    @field_validator("state", "runner_folder", mode="after")
    @classmethod
    def _without_last_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        for one, other in (("client_id", "client_secret"), ("state_access_key", "state_secret_key")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"{one} and {other} go together")
        ways = [name for name in ("token", "client_id", "sdk_profile") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"only one way to sign in can be set (got {' and '.join(ways)})")
        if self.instance_profile and self.cloud != "aws":
            raise ValueError(f"instance_profile is for AWS; this workspace is in {self.cloud}")
        return self

    @classmethod
    def fields_of_url(cls, url: SplitResult) -> dict[str, Any]:
        parts = unquote(url.path).strip("/").split("/")
        if not url.netloc or len(parts) != 2 or not all(parts) or "@" in url.netloc:
            raise ConfigError(
                f"databricks://{url.hostname or ''}{url.path}: must be databricks://HOST/CATALOG/SCHEMA", hint=f"for example {EXAMPLE}"
            )
        return {"host": url.netloc, "catalog": parts[0], "schema": parts[1]}

    @classmethod
    def from_url(cls, text: str, *, profile: str | None = None) -> Self:
        """As every profile's; the name of one that has none is the URL without its secrets."""
        if profile is None:
            url = urlsplit(text)
            profile = url._replace(query=urlencode([pair for pair in parse_qsl(url.query) if pair[0] not in SECRETS], safe=":/@")).geturl()
        return super().from_url(text, profile=profile)

    @property
    def target(self) -> str:
        return f"databricks://{self.host}/{self.catalog}/{self.schema_}"

    @property
    def url(self) -> str:
        """The workspace's address."""
        return f"https://{self.host}"

    @property
    def namespace(self) -> str:
        """`catalog.schema`."""
        return f"{self.catalog}.{self.schema_}"

    @property
    def staging(self) -> str:
        """The volume's folder, as jobs see it."""
        return f"/Volumes/{self.catalog}/{self.schema_}/{self.volume}"


def cloud_of(host: str) -> Cloud | None:
    """The cloud that a workspace's host tells, None where it tells none.

    >>> cloud_of("adb-123.4.azuredatabricks.net"), cloud_of("databricks.example.com")
    ('azure', None)
    """
    bare = host.removeprefix("https://").rstrip("/").lower()
    return next((cloud for ending, cloud in CLOUDS if bare.endswith(ending)), None)
