"""Explain: what a spec would become on one target, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlport.capabilities import Support
from mlport.errors import UnsupportedError, UsageError
from mlport.spi import Plan

if TYPE_CHECKING:
    from mlport.client import Client
    from mlport.costs.at_work.frozen import Frozen
    from mlport.specs import Spec


@dataclass(frozen=True, slots=True)
class Explanation:
    """One spec on one target: how each need is met, what is refused and why, and the plan where there is one.

    `price` is that of an hour of it, as it would be kept at submit; None where it runs no machines, or nothing says what they cost.
    """

    target: str
    needs: Mapping[str, Support]
    plan: Plan | None
    refused: str | None = None
    price: Frozen | None = None

    @property
    def possible(self) -> bool:
        return self.plan is not None

    def to_json(self) -> dict[str, Any]:
        needs = {name: {"level": support.level.value, "detail": support.detail} for name, support in self.needs.items()}
        return {
            "target": self.target,
            "possible": self.possible,
            "needs": needs,
            "refused": self.refused,
            "price": self.price.to_json() if self.price else None,
            "plan": self.plan.to_json() if self.plan else None,
        }


def explain(client: Client, spec: Spec) -> Explanation:
    """Plan `spec`, and give a refusal as part of the answer rather than as an error."""
    from mlport.specs import EndpointSpec

    supports = client.provider.supports(client.config)
    spec = client.endpoints.settled(spec) if isinstance(spec, EndpointSpec) else spec
    needs = {capability.value: supports[capability] for capability in sorted(spec.requires())}
    try:
        plan = _plan(client, spec)
        return Explanation(client.config.target, {**needs, **plan.support}, plan, price=_price(plan))
    except UnsupportedError as error:
        return Explanation(client.config.target, needs, None, "; ".join(f"{name}: {why}" for name, why in error.gaps.items()))
    except UsageError as error:
        return Explanation(client.config.target, needs, None, error.message)


def _price(plan: Plan) -> Frozen | None:
    from mlport.costs.at_work.frozen import Frozen

    return Frozen.from_json(plan.facts.price) if plan.facts.price else None


def _plan(client: Client, spec: Spec) -> Plan:
    from mlport import specs
    from mlport.monitoring.specs import MonitorSpec

    if isinstance(spec, specs.JobSpec):
        return client.jobs.plan(spec)
    if isinstance(spec, specs.BatchSpec):
        return client.jobs.plan(spec)
    if isinstance(spec, specs.ModelSpec):
        return client.models.plan(spec)
    if isinstance(spec, specs.EndpointSpec):
        return client.endpoints.plan(spec)
    if isinstance(spec, specs.SweepSpec):
        return client.sweeps.plan(spec)
    if isinstance(spec, specs.ScheduleSpec):
        return client.schedules.plan(spec)
    if isinstance(spec, MonitorSpec):
        return client.monitors.plan(spec)
    raise UsageError(
        f"{type(spec).__name__} cannot be explained",
        hint="give a JobSpec, BatchSpec, ModelSpec, EndpointSpec, SweepSpec, ScheduleSpec or MonitorSpec",
    )
