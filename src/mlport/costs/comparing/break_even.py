"""When machines of one's own pay against rented ones: after how many hours, after how many months, and from which utilisation on.

"Never" is an answer: the value is None, and the reason is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mlport.costs.formulas import HOURS_A_YEAR
from mlport.costs.records import plain

if TYPE_CHECKING:
    from mlport.costs.records import Estimate


@dataclass(frozen=True, slots=True)
class Answer:
    """A value with its unit; None with the reason where there is none. `reason` may also limit a value, such as "at most"."""

    value: Decimal | None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"value": plain(self.value), "reason": self.reason or None}


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Own machines against one cloud.

    `hours`: machine hours of work after which what was paid for own machines is earned back. `months`: after how many months of this
    workload. `utilization`: the share of hours from which on a year of own machines costs less than renting for the hours worked.
    """

    own: str
    cloud: str
    hours: Answer
    months: Answer
    utilization: Answer

    def to_json(self) -> dict[str, Any]:
        """As scripts read it: a value of null with its reason."""
        answers = {name: getattr(self, name).to_json() for name in ("hours", "months", "utilization")}
        return {"own": self.own, "cloud": self.cloud, **answers}


def hours_to_pay(capital: Decimal, cloud: Decimal, running: Decimal) -> Answer:
    """Machine hours after which owning has cost less than renting: capital / (cloud - running).

    Args:
        capital: what the machine costs to buy.
        cloud, running: what an hour costs rented, and owned without the purchase (power, people, space).

    Source: "On-Premise vs Cloud: Generative AI Total Cost of Ownership", Lenovo Press LP2225 (23 May 2025), whose example is

    >>> round(hours_to_pay(Decimal(833806), Decimal("98.32"), Decimal("0.87")).value)
    8556
    """
    if cloud <= running:
        return Answer(None, f"never: an hour costs {cloud:,.4f} rented and {running:,.4f} owned, without the purchase")
    return Answer(capital / (cloud - running))


def months_to_pay(capital: Decimal, cloud: Decimal, running: Decimal, life: Decimal | None = None) -> Answer:
    """Months after which owning has cost less than renting: capital / (cloud - running), both a month.

    Simple payback, without interest on the way (e.g. ASTM E1121). `life` in months: later than that is never, for the machines
    must then be bought anew.
    """
    if cloud <= running:
        return Answer(None, f"never: a month costs {cloud:,.2f} rented and {running:,.2f} owned, without the purchase")
    months = capital / (cloud - running)
    if life is not None and months > life:
        return Answer(None, f"never: it would take {months:.1f} months, and the machines last {life:.0f}")
    return Answer(months)


def utilization_to_pay(annual: Decimal, cloud: Decimal, machines: Decimal = Decimal(1)) -> Answer:
    """The share of hours from which on owning costs less than renting for the hours worked: annual / (8760 x machines x cloud).

    Args:
        annual: what all machines cost a year, capital with interest included.
        cloud: what an hour of one such machine costs rented.

    Source: owned cost of a delivered GPU hour = annual / (GPUs x 8760 x utilisation), set equal to the rented one; "Build-vs-rent GPU
    cost model", https://ai-infrastructure.net/build-vs-rent-gpu-cost-model/.
    """
    if cloud <= 0 or machines <= 0:
        return Answer(None, "never: renting costs nothing for these hours" if machines > 0 else "there are no machines of one's own")
    share = annual / (HOURS_A_YEAR * machines * cloud)
    if share > 1:
        return Answer(None, f"never: even at work in every hour they would cost {share:.2f} times as much")
    return Answer(share)


def cost_per_useful_hour(annual: Decimal, units: Decimal, utilization: Decimal) -> Decimal:
    """What a useful hour of one machine or GPU costs: annual / (units x 8760 x utilisation)."""
    return annual / (units * HOURS_A_YEAR * utilization)


def break_even(own: Estimate, cloud: Estimate) -> BreakEven:
    """One's own machines against a cloud for the same workload, from their estimates.

    What is rented grows with the hours worked; what is owned does not: power is counted at its average load. An hour rented is the
    cloud's whole bill over the machine hours that the own machines work for it, an hour owned all that is paid beside the purchase over
    the same hours: storage and traffic are on both sides, and idle hours make the owned ones dearer.
    """
    if reason := _unknown(own, cloud):
        nothing = Answer(None, reason)
        return BreakEven(own.target, cloud.target, nothing, nothing, nothing)
    facts, months = own.facts, own.months
    running = own.total - facts["capital_cost"]
    life = facts["life_years"] * 12
    paid = months_to_pay(facts["capital"], cloud.total / months, running / months, life)
    used = facts["used_hours"]
    if not used:
        nothing = Answer(None, "the workload works no machine hours")
        return BreakEven(own.target, cloud.target, nothing, paid, nothing)
    hours = hours_to_pay(facts["capital"], cloud.total / used, running / used)
    machines = facts["capacity_hours"] / HOURS_A_YEAR / (months / 12)
    share = utilization_to_pay(own.total * 12 / months, cloud.total / used, machines)
    return BreakEven(own.target, cloud.target, hours, paid, share)


def _unknown(own: Estimate, cloud: Estimate) -> str:
    """Why there is no answer, empty where there is one."""
    if "capital" not in own.facts:
        return f"{own.target} owns no machines for this workload"
    if own.currency != cloud.currency:
        return f"{own.target} is in {own.currency} and {cloud.target} in {cloud.currency}: give the price book one currency and a rate"
    for each in (own, cloud):
        if each.refused:
            return f"unknown: {each.target} cannot do {each.refused[0].part}: {each.refused[0].why}"
        if each.at_least:
            missing = ", ".join(sorted({line.what for line in each.unpriced}))
            return f"unknown: {each.target} costs at least {each.total:.2f}, without a price of {missing}"
    return ""
