"""Configuration of a Vertex AI profile: one project in one region, and where mlport keeps its files there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import SplitResult, unquote

from pydantic import Field, ValidationInfo, field_validator, model_validator

from mlport.config import Config
from mlport.errors import ConfigError

FOLDER_URL = r"^gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^/\s]+)*/?$"
REPOSITORY = r"^[a-z0-9-]+-docker\.pkg\.dev/[a-z0-9][a-z0-9.:-]*[a-z0-9]/[a-z][a-z0-9-]{0,62}$"
EMAIL = r"^[^@\s]+@[^@\s]+$"
NETWORK = re.compile(r"projects/[^/]+/global/networks/[^/]+")
KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")

Account = Annotated[str, Field(pattern=EMAIL)]


class VertexConfig(Config):
    """Google Cloud's Vertex AI: custom jobs, its model registry, its endpoints."""

    scheme: ClassVar[str] = "vertex"

    project: str = Field(pattern=r"^[a-z0-9][a-z0-9.:-]*[a-z0-9]$")
    """The project's id."""
    location: str = Field(pattern=r"^[a-z]+-[a-z]+[0-9]+$")
    """The region, such as `europe-west4`."""
    staging: str = Field(pattern=FOLDER_URL)
    """A `gs://` folder for what jobs need and leave; its bucket should be in the same region."""
    state: str = Field("", pattern=rf"{FOLDER_URL}|^$")
    """A `gs://` folder for mlport's own shared state; `state` under the staging folder if not set."""
    transport: Literal["rest", "grpc"] = "rest"
    """How the API is called; both do the same, REST starts quicker."""
    credentials: Path | None = Field(None, repr=False)
    """A credentials file; Application Default Credentials if not set."""
    service_account: Account | None = None
    """The account that jobs run as; Vertex AI's own custom-code account if not set."""
    serving_account: Account | None = None
    """The account that deployments run as."""
    network: str | None = None
    """A VPC network to peer jobs with: `projects/NUMBER/global/networks/NAME`."""
    encryption_key: str | None = None
    """A Cloud KMS key for what is made: `projects/P/locations/L/keyRings/R/cryptoKeys/K`."""
    image: str | None = None
    """The container image of jobs that name none; Google's prebuilt scikit-learn training image if not set. It must have Python 3.8 or newer."""
    server_image: str | None = None
    """The image of mlport's model server, for models that no prebuilt prediction image serves."""
    build_repository: str | None = Field(None, pattern=REPOSITORY)
    """The Artifact Registry repository that built serving images go to: `LOCATION-docker.pkg.dev/PROJECT/REPOSITORY`."""
    build_account: Account | None = None
    """The account that builds run as; the project's default for builds if not set."""
    capture_dataset: str | None = Field(None, pattern=r"^[A-Za-z0-9_]{1,1024}$")
    """The BigQuery dataset that captured requests go to, in a table for each endpoint; if not set, Vertex AI makes a dataset for each."""
    proxy: str | None = Field(None, repr=False)
    """An HTTP proxy for everything; that of the environment if not set."""
    ca: Path | None = None
    """A PEM file of the authorities to trust; the system's if not set."""

    @field_validator("credentials", "ca", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        base = (info.context or {}).get("base") or Path.cwd()
        return (base / value.expanduser()).absolute() if value else None

    @field_validator("staging", "state", mode="after")
    @classmethod
    def _without_last_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("network", mode="after")
    @classmethod
    def _network(cls, value: str | None) -> str | None:
        if value is not None and not NETWORK.fullmatch(value):
            raise ValueError("must be projects/NUMBER/global/networks/NAME")
        return value

    @field_validator("encryption_key", mode="after")
    @classmethod
    def _key(cls, value: str | None) -> str | None:
        if value is not None and not KEY.fullmatch(value):
            raise ValueError("must be projects/P/locations/L/keyRings/R/cryptoKeys/K")
        return value

    @model_validator(mode="after")
    def _state_under_staging(self) -> Self:
        if not self.state:
            object.__setattr__(self, "state", f"{self.staging}/state")
        return self

    @classmethod
    def fields_of_url(cls, url: SplitResult) -> dict[str, Any]:
        location = unquote(url.path).strip("/")
        if not url.netloc or not location or "/" in location:
            raise ConfigError(
                f"vertex://{url.netloc}{url.path}: must be vertex://PROJECT/LOCATION",
                hint="for example vertex://my-project/europe-west4?staging=gs://my-bucket/mlport",
            )
        return {"project": unquote(url.netloc), "location": location}

    @property
    def target(self) -> str:
        return f"vertex://{self.project}/{self.location}"

    @property
    def parent(self) -> str:
        """The name that everything of this profile is under."""
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def host(self) -> str:
        """The region's own host, which is the only one that has its resources."""
        return f"{self.location}-aiplatform.googleapis.com"
