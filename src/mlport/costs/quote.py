"""What a pricing works with while it prices one target: the arithmetic, the catalogue, the price book, and how lines are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mlport.costs.arithmetic import EXACT, Arithmetic, Number
from mlport.costs.catalogue import Catalogue, price_of
from mlport.costs.formulas import HOURS_A_MONTH, tiered
from mlport.costs.parts import Uncertain
from mlport.costs.records import Category, Gain, Line, Price

if TYPE_CHECKING:
    from mlport.costs.facts import Fact
    from mlport.costs.parts import Part
    from mlport.costs.pricing import Settings
    from mlport.costs.records import Estimate

_NOTHING: Number = 0  # of either arithmetic
Discount = Callable[["Fact", Price], Price]


@runtime_checkable
class Settles(Protocol):
    """A discount that has a word on the whole estimate, too: commitments, currency, taxes."""

    def applied(self, estimate: Estimate, math: Arithmetic) -> Estimate: ...


@runtime_checkable
class Supplies(Protocol):
    """A discount that has prices of its own, too, which lists lack."""

    def supplied(self, catalogue: Catalogue) -> Catalogue: ...


def supplied(catalogue: Catalogue, discount: Discount | None) -> Catalogue:
    """The catalogue with the prices that a price book adds to it."""
    return discount.supplied(catalogue) if isinstance(discount, Supplies) else catalogue


@dataclass(eq=False)
class Quote:
    """One estimate under way.

    `samples` gives the values of uncertain quantities, by the identity of their objects, under a sampled arithmetic; under
    `EXACT` a quantity is its `mid`. `discount` is the price book's word on a list price. `factor` what a price is
    multiplied with where prices themselves are uncertain. `assumed` collects what was taken for granted, `left_out` what is not counted here
    beside what the pricing never counts, `facts` what is known of the target beyond its lines.
    """

    catalogue: Catalogue
    settings: Settings
    region: str
    months: Number
    math: Arithmetic = EXACT
    samples: Mapping[int, Number] = field(default_factory=dict)
    discount: Discount = lambda fact, price: price
    factor: Callable[[Fact], Number] | None = None
    assumed: dict[str, None] = field(default_factory=dict)
    gained: dict[str, Gain] = field(default_factory=dict)
    left_out: dict[str, None] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    hours_a_month: Number = HOURS_A_MONTH

    # ---------------------------------------------------------------- numbers

    def number(self, value: Any) -> Number:
        """A quantity of the workload as a number: an uncertain one by its samples, or its middle."""
        if id(value) in self.samples:
            return self.samples[id(value)]
        if isinstance(value, Uncertain):
            return self.math.number(value.mid)
        return self.math.number(value)

    def assume(self, words: str) -> None:
        """Note what was taken for granted, once."""
        self.assumed[words] = None

    def achieved(self, part: Part, *, hours: Number = 0, predictions: Number = 0, machine_hours: Number = 0) -> None:
        """Note what a part gives for its money over the horizon. Said again, for another machine is tried, it is counted once."""
        self.gained[part.name] = Gain(hours, predictions, machine_hours)

    @property
    def useful_hours(self) -> Number:
        """Node hours of training that were useful, of all parts."""
        return sum((gain.useful_hours for gain in self.gained.values()), start=_NOTHING)

    @property
    def predictions(self) -> Number:
        """Predictions of all parts."""
        return sum((gain.predictions for gain in self.gained.values()), start=_NOTHING)

    # ---------------------------------------------------------------- prices

    def machine(self, part: Part) -> str:
        """The machine that the target's settings name for a part, empty where the cheapest that fits is wanted."""
        named = self.settings.machines
        return named.get(part.name, named.get("*", ""))

    def steps(self, prices: str, service: str, sku: str) -> Sequence[Fact]:
        """The tiers of a thing here: those with the free allowance where that is to be counted and known."""
        found = self.catalogue.list(prices)
        if self.settings.free_tier and (free := found.tiers(service, sku, self.region, "free_tier")):
            self.assume("free allowances of the account are counted, as if nothing else used them")
            return free
        return found.tiers(service, sku, self.region)

    def find(self, prices: str, service: str, sku: str, purchase: str = "on_demand", gpu: str = "") -> Fact | None:
        """The price of one thing here, None where nobody said any."""
        return self.catalogue.list(prices).find(service, sku, self.region, purchase, gpu)

    def price(self, fact: Fact | None) -> Price | None:
        """The unit price of a fact, after the price book."""
        return None if fact is None else self.discount(fact, price_of(fact))

    # ---------------------------------------------------------------- lines

    def line(
        self,
        part: Part,
        category: Category,
        what: str,
        quantity: Number,
        unit: str,
        fact: Fact | None,
        formula: str,
        *,
        price: Price | None = None,
        unknown: str = "",
    ) -> Line:
        """A line of quantity times unit price: the fact's after the price book, or `price` where it was put together."""
        found = price or self.price(fact)
        if found is None:
            return Line(part.name, category, what, quantity, unit, None, formula, unknown=unknown or f"no price of {what} in {self.region}")
        amount = None
        if self.math is not EXACT:
            scale = self.factor(fact) if self.factor is not None and fact is not None else 1.0
            amount = quantity * self.math.number(found.value) * scale
        return Line(part.name, category, what, quantity, unit, found, formula, amount, fact=fact)

    def tiers(self, part: Part, category: Category, what: str, monthly: Number, unit: str, facts: Sequence[Fact], formula: str) -> Line:
        """A line of marginal tiers: `monthly` units a month, each at the price of its own tier. The unit price shown is the average."""
        if not facts:
            return self.line(part, category, what, monthly * self.months, unit, None, formula)
        prices = [found for fact in facts if (found := self.price(fact)) is not None]
        steps = [(self.math.number(fact.tier_from), self.math.number(price.value)) for fact, price in zip(facts, prices, strict=True)]
        amount = tiered(self.math, monthly, steps) * self.months
        if self.factor is not None:
            amount = amount * self.factor(facts[0])
        quantity = monthly * self.months
        shown = prices[0]
        if len(prices) > 1:
            shown = _average(prices, steps, monthly, amount, quantity)
            listed = ", ".join(f"{price.value.normalize():f} from {fact.tier_from:f}" for fact, price in zip(facts, prices, strict=True))
            formula = f"{formula}; marginal tiers a month: {listed}"
        return Line(part.name, category, what, quantity, unit, shown, formula, amount, fact=facts[0])


def _average(prices: Sequence[Price], steps: Sequence[tuple[Number, Number]], monthly: Number, amount: Number, quantity: Number) -> Price:
    """The unit price to show for a line of tiers: that of its one tier, else the average of all that it comes to."""
    used = [price for price, (begin, _) in zip(prices, steps, strict=True) if _mean(monthly) > begin] or [prices[0]]
    if len(used) == 1:
        return used[0]
    value = amount / quantity if isinstance(amount, Decimal) else Decimal(repr(_mean(amount) / _mean(quantity)))
    return used[-1]._replace(value=value, free=False, derived_from="the average over marginal tiers")


def _mean(value: Number) -> float:
    return float(value.mean()) if hasattr(value, "mean") else float(value)
