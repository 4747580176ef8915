"""One workload at several targets, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlport.config import find_file, read_file
from mlport.costs import pricing
from mlport.costs.catalogue import default, nearest
from mlport.costs.comparing import beyond_money
from mlport.costs.estimate import Target, priced, target
from mlport.costs.parts import Batch, Item, Serving, Sweep, Training
from mlport.costs.records import Estimate, Refusal, cents, plain
from mlport.costs.reporting.words import months
from mlport.errors import SpecError

if TYPE_CHECKING:
    from pathlib import Path

    from mlport.costs.catalogue import Catalogue
    from mlport.costs.comparing.break_even import BreakEven
    from mlport.costs.comparing.purchases import Purchases
    from mlport.costs.comparing.uncertainty import Effect, Spread
    from mlport.costs.parts import Part
    from mlport.costs.quote import Discount
    from mlport.costs.workload import Workload

TRAINS: tuple[type[Part], ...] = (Training, Sweep)
PREDICTS: tuple[type[Part], ...] = (Serving, Batch)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a target does. Costs are of the whole horizon; the two unit costs are None where the target gives no such thing.

    A useful hour is a node hour of training or of a sweep's trials without what interruptions and retries add.
    """

    target: str
    place: str
    total: Decimal
    at_least: bool
    per_useful_hour: Decimal | None
    per_1k_predictions: Decimal | None
    cannot: Sequence[Refusal]
    unpriced: Sequence[str]

    @property
    def complete(self) -> bool:
        """Whether it can do everything and everything has a price."""
        return not self.cannot and not self.at_least


@dataclass(frozen=True)
class Comparison:
    """A workload priced at several targets, in the order asked. What takes longer is worked out when first asked for."""

    workload: Workload
    targets: tuple[Target, ...]
    estimates: tuple[Estimate, ...]
    catalogue: Catalogue
    discount: Discount | None
    today: date

    @property
    def currency(self) -> str:
        return self.estimates[0].currency

    @cached_property
    def standings(self) -> tuple[Standing, ...]:
        """One of each target, in the order asked."""
        return tuple(_standing(self.workload, found) for found in self.estimates)

    @property
    def cheapest(self) -> str | None:
        """The cheapest of the targets that can do everything, with everything priced; None if there is none."""
        best = min((each for each in self.standings if each.complete), key=lambda each: (each.total, each.target), default=None)
        return best.target if best else None

    @property
    def verdict(self) -> str:
        """One sentence to forward: the cheapest, by how much, how sure that is, and what keeps others from being it."""
        best = next((each for each in self.standings if each.target == self.cheapest), None)
        said = self._praise(best) if best else "no target does all of it at known prices"
        others = []
        for each in self.standings:
            if each.cannot:
                others.append(f"{each.target} cannot do {', '.join(dict.fromkeys(refusal.part for refusal in each.cannot))}")
            elif each.at_least and (best is None or each.total < best.total):
                others.append(
                    f"{each.target} costs at least {cents(each.total):,}{' and may be cheaper' if best else ''}: some of it has no price"
                )
        return "; ".join([said, *others])

    def _praise(self, best: Standing) -> str:
        amount = f"{cents(best.total):,} {self.currency} for {months(self.workload.months)}"
        rivals = [each for each in self.standings if each.complete and each is not best]
        if len(self.standings) == 1:
            return f"{self.workload.name} costs {amount} at {best.target}"
        said = f"{best.target} is the cheapest: {amount}"
        if not rivals:
            return said
        second = min(rivals, key=lambda each: (each.total, each.target))
        less = min((1 - best.total / second.total) * 100, Decimal(99)) if second.total else Decimal(0)
        said += f", {less:.0f} % less than {second.target}" if less >= 1 else f", about as much as {second.target}"
        share = self.odds.get(best.target)
        if share is None:
            return said
        sure = "all" if share == 1 else f"{min(share, 0.99):.0%}".replace("%", " %")
        return f"{said}, and so in {sure} of {self.workload.uncertainty.samples:,} samples"

    @cached_property
    def _totals(self) -> Mapping[str, Any]:
        """Each target's total in each sample; none without NumPy."""
        from mlport.costs.comparing.uncertainty import available, totals

        return {} if not available() else totals(self.workload, self.targets, self.catalogue, discount=self.discount, today=self.today)

    @cached_property
    def spreads(self) -> Mapping[str, Spread]:
        """P10, P50 and P90 of each target's total; none without NumPy."""
        from mlport.costs.comparing.uncertainty import spread

        return {name: spread(total) for name, total in self._totals.items()}

    @cached_property
    def odds(self) -> Mapping[str, float]:
        """In which share of the samples each target that can do everything is the cheapest of these; none without NumPy."""
        from mlport.costs.comparing.uncertainty import odds

        whole = {each.target: self._totals[each.target] for each in self.standings if each.complete and each.target in self._totals}
        return odds(whole) if whole else {}

    @cached_property
    def tornado(self) -> Mapping[str, Sequence[Effect]]:
        """What each uncertain input does to each target's total, the largest first; nothing without NumPy."""
        from mlport.costs.comparing.uncertainty import available, tornado

        if not available():
            return {}
        return {at.name: tornado(self.workload, at, self.catalogue, discount=self.discount, today=self.today) for at in self.targets}

    @cached_property
    def purchases(self) -> Sequence[Purchases]:
        """On demand, spot or reserved, for each target and each part that runs on machines."""
        from mlport.costs.comparing.purchases import purchases

        return [found for at in self.targets for found in purchases(self.workload, at, self.catalogue, self.discount)]

    @cached_property
    def break_even(self) -> Sequence[BreakEven]:
        """Machines of one's own against each place that rents them: after how many hours and months, and from which utilisation on."""
        from mlport.costs.comparing.break_even import break_even

        own = [found for found in self.estimates if "capital" in found.facts]
        rented = [found for found in self.estimates if "capital" not in found.facts]
        return [break_even(mine, theirs) for mine in own for theirs in rented]

    @cached_property
    def beyond_money(self) -> Sequence[beyond_money.Row]:
        """What money does not say, those that weigh most first."""
        return beyond_money.rows(self.workload, self.targets)

    @cached_property
    def scores(self) -> Mapping[str, float | None]:
        """The user's own scores, weighted."""
        return beyond_money.scores(self.workload, self.targets)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        from dataclasses import asdict

        from mlport.costs.comparing.uncertainty import assumption

        return {
            "workload": self.workload.name,
            "months": self.workload.months,
            "currency": self.currency,
            "cheapest": self.cheapest,
            "verdict": self.verdict,
            "targets": [self._target_json(each, found) for each, found in zip(self.standings, self.estimates, strict=True)],
            "lines": [line.to_json(found.target) for found in self.estimates for line in found.lines],
            "break_even": [found.to_json() for found in self.break_even],
            "purchases": [_purchases_json(found) for found in self.purchases],
            "beyond_money": [
                {
                    "criterion": row.criterion,
                    "weight": row.weight,
                    "notes": {name: {"words": note.words, "source": note.source or None} for name, note in row.notes.items()},
                }
                for row in self.beyond_money
            ],
            "scores": dict(self.scores),
            "uncertainty": assumption(self.workload),
            "tornado": {name: [asdict(effect) for effect in effects] for name, effects in self.tornado.items()},
        }

    def _target_json(self, each: Standing, found: Estimate) -> dict[str, Any]:
        spread = self.spreads.get(each.target)
        return {
            "target": each.target,
            "place": each.place,
            "total": plain(each.total),
            "at_least": each.at_least,
            "complete": each.complete,
            "p10": spread.p10 if spread else None,
            "p50": spread.p50 if spread else None,
            "p90": spread.p90 if spread else None,
            "cheapest_in": self.odds.get(each.target),
            "per_useful_hour": plain(each.per_useful_hour),
            "per_1k_predictions": plain(each.per_1k_predictions),
            "by_category": {name: plain(cost) for name, cost in found.by_category().items()},
            "cannot": [{"part": refusal.part, "why": refusal.why} for refusal in each.cannot],
            "unpriced": list(each.unpriced),
            "left_out": list(found.left_out),
            "assumptions": list(found.assumptions),
            "warnings": list(found.warnings),
        }


def compare(
    workload: Workload,
    targets: Sequence[Target | str],
    *,
    catalogue: Catalogue | None = None,
    discount: Discount | None = None,
    file: Path | None = None,
) -> Comparison:
    """Price a workload at each target: a pricing's name, a name of the workload's `targets`, a profile (of `file`) or a URL.

    `discount` may be a price book (`mlport.costs.book.find` gives the project's).

    Raises:
        SpecError: a target lacks something, such as its region (with the choices), is named twice, or has another currency.
    """
    places = tuple(target(workload, each, file=file) if isinstance(each, str) else each for each in targets)
    names = [at.name for at in places]
    if not names:
        raise SpecError("compare: no targets", hint="name some, such as local and a profile of mlport.toml")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SpecError(f"compare: {twice[0]!r} is named twice")
    _require_named(workload, names, file)
    prices = catalogue or default()
    estimates = tuple(priced(workload, at, prices, discount=discount) for at in places)
    if len({found.currency for found in estimates}) > 1:
        said = ", ".join(f"{found.target} in {found.currency}" for found in estimates)
        raise SpecError(f"compare: amounts in different currencies: {said}", hint="give the price book one currency and dated rates")
    return Comparison(workload, places, estimates, prices, discount, datetime.now(UTC).date())


def _require_named(workload: Workload, names: Sequence[str], file: Path | None) -> None:
    """What is said of a target is of one that there is: of a misspelt one it would be silent."""
    told = [(f"scores.{name}", name) for name in workload.scores]
    told += [(f"items.{part.name}.targets", name) for part in workload.parts() if isinstance(part, Item) for name in part.targets]
    known = [*names, *workload.targets, *pricing.names()]
    if strange := [(place, name) for place, name in told if name not in known]:
        path = file or find_file()
        known += read_file(path).profiles if path is not None else ()
        for place, name in strange:
            if name not in known:
                raise SpecError(f"{place}: there is no target {name!r}", hint=nearest(name, sorted(set(known))))


def _standing(workload: Workload, found: Estimate) -> Standing:
    return Standing(
        found.target,
        found.place,
        Decimal(found.total),
        found.at_least,
        _unit_cost(workload, found, TRAINS, found.useful_hours),
        _unit_cost(workload, found, PREDICTS, found.predictions / 1000),
        tuple(found.refused),
        tuple(f"{line.part}: {line.unknown}" for line in found.unpriced),
    )


def _unit_cost(workload: Workload, found: Estimate, kinds: tuple[type[Part], ...], many: Decimal) -> Decimal | None:
    """The cost of the parts of these kinds over what they give; of lines of no part, such as machines owned, their share of machine hours.

    None where they give nothing, are refused, or have a line without a price.
    """
    names = {part.name: isinstance(part, kinds) for part in workload.parts()}
    ours = {name for name, is_ours in names.items() if is_ours}
    if (
        not many
        or ours & {refusal.part for refusal in found.refused}
        or any(line.part in ours or line.part not in names for line in found.unpriced)
    ):
        return None
    own, shared = Decimal(0), Decimal(0)
    for line in found.lines:
        if line.part in ours:
            own += Decimal(line.cost or 0)
        elif line.part not in names:
            shared += Decimal(line.cost or 0)
    if shared:
        hours = sum((gain.machine_hours for gain in found.gains.values()), start=Decimal(0))
        of_ours = sum((gain.machine_hours for name, gain in found.gains.items() if name in ours), start=Decimal(0))
        own += shared * of_ours / hours if hours else shared
    return Decimal(own / many)


def _purchases_json(found: Purchases) -> dict[str, Any]:
    return {
        "target": found.target,
        "part": found.part,
        "best": found.best.purchase if found.best else None,
        "options": [{"purchase": option.purchase, "cost": plain(option.cost), "words": option.words or None} for option in found.options],
    }
