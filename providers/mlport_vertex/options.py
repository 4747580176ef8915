"""What only Vertex AI has: `options={"vertex": {...}}` of a job, a batch or an endpoint, checked here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

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


class VertexBatchOptions(VertexJobOptions):
    """Of a batch. What is not set is as the profile says."""

    batch: Literal["composed", "native"] = "composed"
    """`composed`: a job of mlport's, the same everywhere. `native`: a BatchPredictionJob, with output in Vertex AI's own form."""
    instance_type: Literal["object", "array"] | None = None
    """Native: how the model takes a row. If not set, as the image of the version does."""
    included_fields: tuple[str, ...] | None = None
    """Native: the fields of a line or row that the model gets, in this order. If not set, the signature's; `[]` for lines as they are."""
    excluded_fields: tuple[str, ...] = ()
    """Native: the fields that the model does not get, instead."""
    key_field: str | None = None
    """Native: the field that stands beside each prediction in the place of the whole instance; the model does not get it."""
    parameters: dict[str, Any] = Field({})
    """Native: what goes to the model as `parameters` with each request."""

    def _contradiction(self) -> str | None:
        if self.included_fields and self.excluded_fields:
            return "only one of included_fields and excluded_fields can be given"
        return None


NATIVE_ONLY = ("instance_type", "included_fields", "excluded_fields", "key_field", "parameters")


class VertexSweepOptions(Spec):
    """Of a sweep; its trials have those of a job."""

    sweep: Literal["native", "composed"] | None = None
    """Whose search it is: Vertex AI's tuner's, or mlport's own. If not set, the tuner's where it can do all that is asked."""


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


class VertexMonitorOptions(Spec):
    """Of a monitor that Vertex AI measures: there are none."""


def options_of(kind: type[Options], options: Mapping[str, Mapping[str, Any]]) -> Options:
    """Those of this provider, with defaults. Raises SpecError that names the field and the nearest valid one."""
    try:
        return kind.model_validate(dict(options.get("vertex", {})))
    except SpecError as error:
        raise SpecError(f"options.vertex: {error.message}", hint=error.hint) from error
