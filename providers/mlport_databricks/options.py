"""What only Databricks has: `options={"databricks": {...}}` of a job, a batch or an endpoint, checked here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

from pydantic import ConfigDict, Field

from mlport.errors import SpecError
from mlport.specs import Spec

Options = TypeVar("Options", bound=Spec)
CLUSTER = r"^(job|serverless|[0-9]{4}-[0-9]{6}-[A-Za-z0-9-]+)$"
SecurityMode = Literal["DATA_SECURITY_MODE_DEDICATED", "DATA_SECURITY_MODE_STANDARD", "DATA_SECURITY_MODE_AUTO"]


class DatabricksJobOptions(Spec):
    """Of a job or a batch. What is not set is as the profile says."""

    model_config = ConfigDict(defer_build=True)  # most jobs have none, and building takes as long as a request

    cluster: str = Field("job", pattern=CLUSTER)
    """`job`: a new cluster for it alone; `serverless`; or the id of a cluster that is there, such as `0923-164208-meows279`."""
    node_type: str | None = None
    """A node type, instead of the cheapest that satisfies `compute`."""
    spark_version: str | None = None
    """The Databricks Runtime of the new cluster."""
    num_workers: int = Field(0, ge=0, le=10_000)
    """Spark workers of the new cluster, besides the driver, which runs the program."""
    policy_id: str | None = None
    """The cluster policy that the new cluster obeys."""
    instance_pool_id: str | None = None
    """The pool that the new cluster's machines come from, instead of a node type."""
    instance_profile: str | None = Field(None, pattern=r"^arn:[^\s]+$")
    """AWS: the instance profile of the new cluster."""
    data_security_mode: SecurityMode = "DATA_SECURITY_MODE_DEDICATED"
    """Who may use the new cluster, and how what they do is kept apart."""
    libraries: tuple[dict[str, Any], ...] = ()
    """Libraries of the cluster as Databricks takes them, such as `{"pypi": {"package": "xgboost"}}`; for the program alone there is `requirements`."""
    environment_version: str = "4"
    """Serverless: the version of its environment."""
    usage_policy_id: str | None = None
    """Serverless: the usage (budget) policy that it is billed by."""
    run_as: str | None = None
    """The application id of the service principal that it runs as."""

    def _contradiction(self) -> str | None:
        if self.cluster == "job":
            return None
        fields = ("node_type", "spark_version", "num_workers", "policy_id", "instance_pool_id", "instance_profile", "data_security_mode")
        given = [name for name in fields if getattr(self, name) != type(self).model_fields[name].default]
        return f"{', '.join(given)}: of a new cluster only, and cluster is {self.cluster!r}" if given else None


class DatabricksEndpointOptions(Spec):
    """Of an endpoint or a deployment. What is not set is as the profile says."""

    model_config = ConfigDict(defer_build=True)

    workload_type: Literal["CPU", "CPU_MEDIUM", "CPU_LARGE", "GPU_SMALL", "GPU_MEDIUM", "GPU_LARGE", "MULTIGPU_MEDIUM"] | None = None
    """The kind of machine, instead of the one that `compute` leads to."""
    workload_size: Literal["Small", "Medium", "Large"] | None = None
    """A range of concurrency that Databricks names, instead of the one that `replicas` leads to."""
    usage_policy_id: str | None = None
    """The usage (budget) policy that the endpoint is billed by."""


def options_of(kind: type[Options], options: Mapping[str, Mapping[str, Any]]) -> Options:
    """Those of this provider, with defaults. Raises SpecError that names the field and the nearest valid one."""
    given = options.get("databricks")
    if not given:
        return cast("Options", kind.model_construct())
    try:
        return kind.model_validate(dict(given))
    except SpecError as error:
        raise SpecError(f"options.databricks: {error.message}", hint=error.hint) from error
