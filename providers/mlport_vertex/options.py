"""What only Vertex AI has: `options={"vertex": {...}}` of a job, a batch or an endpoint, checked here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field

from mlport.errors import SpecError
from mlport.specs import Spec

Options = TypeVar("Options", bound=Spec)
Account = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]


class VertexJobOptions(Spec):
    """Of a job or a batch. What is not set is as the profile says."""

    machine: str | None = None
    """A machine type, instead of the cheapest that satisfies `compute`."""
    service_account: Account | None = None
    """The account that the job runs as."""
    network: str | None = Field(None, pattern=r"^projects/[^/]+/global/networks/[^/]+$")
    """The VPC network to peer with."""
    encryption_key: str | None = Field(None, pattern=r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$")
    """The Cloud KMS key."""
    boot_disk: str = Field("pd-ssd", pattern=r"^(pd-ssd|pd-standard|hyperdisk-balanced)$")
    """The kind of boot disk."""
    restart_on_worker_restart: bool = False
    """Start all workers anew when one was: of several nodes only."""


class VertexEndpointOptions(Spec):
    """Of an endpoint or a deployment. What is not set is as the profile says."""

    machine: str | None = None
    """A machine type, instead of the cheapest that satisfies `compute`."""
    service_account: Account | None = None
    """The account that the deployment runs as."""
    predict_route: str | None = Field(None, pattern=r"^/")
    """Where an image of runtime `image` takes requests; `/predict` if not set. One that ends with `/infer` is asked in the Open Inference Protocol."""
    health_route: str | None = Field(None, pattern=r"^/")
    """Where it tells that it is ready; `/health` if not set."""


def options_of(kind: type[Options], options: Mapping[str, Mapping[str, Any]]) -> Options:
    """Those of this provider, with defaults. Raises SpecError that names the field and the nearest valid one."""
    try:
        return kind.model_validate(dict(options.get("vertex", {})))
    except SpecError as error:
        raise SpecError(f"options.vertex: {error.message}", hint=error.hint) from error
