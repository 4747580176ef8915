"""The price book: what one really pays instead of list prices. Discounts, negotiated and committed rates, currency, taxes.

A TOML file that `[prices] book = "book.toml"` of mlport.toml names. `examples/cost/book.toml` shows all of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self, get_args
from weakref import WeakKeyDictionary

from pydantic import Field, model_validator

from mlport import tables
from mlport.config import find_file, read_file
from mlport.costs import pricing
from mlport.costs.agreements import REGULAR, Amount, CommittedSpend, Dated, OwnPrice, Percent, Row, spent, supplied
from mlport.costs.arithmetic import EXACT, Arithmetic, Number
from mlport.costs.catalogue import Catalogue, default, nearest
from mlport.costs.currencies import Currency
from mlport.costs.facts import Fact
from mlport.costs.parts import LARGEST, OWN
from mlport.costs.records import Category, Estimate, Line, Price
from mlport.errors import ConfigError, SpecError
from mlport.fields import Place, dotted

_KEYS = ("sku", "region", "service", "purchase", "provider")
_NOTHING: Number = 0  # of either arithmetic


class Discount(Dated):
    """Less than the list price, or a negotiated price, for all that it names. What is more exactly named wins.

    Spot, committed and reserved prices are only touched where `purchase` names them.
    """

    provider: str
    """The price list, such as those that `mlport cost prices` lists."""
    service: str | None = None
    sku: str | None = None
    """A name, or a pattern such as `n2-*`."""
    region: str | None = None
    purchase: str | None = None
    percent: Percent | None = None
    price: Amount | None = None
    """Of one `unit`, in `currency`."""
    unit: str | None = None
    currency: Currency | None = None
    """The list's own if not given."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.percent is None) == (self.price is None):
            raise ValueError("give either percent or price")
        if self.price is not None and (self.sku is None or self.unit is None):
            raise ValueError("a negotiated price needs the sku and the unit that it is for")
        return self

    def covers(self, fact: Fact) -> bool:
        """Whether it is for this price."""
        if self.provider != fact.provider or (self.purchase or fact.purchase) != fact.purchase:
            return False
        if self.purchase is None and fact.purchase not in REGULAR:
            return False
        named = (self.service, fact.service), (self.region, fact.region)
        return all(mine in (None, theirs) for mine, theirs in named) and (self.sku is None or fnmatchcase(fact.sku, self.sku))

    @property
    def exactness(self) -> tuple[bool, ...]:
        """How exactly it names what it is for; the larger, the more."""
        plain = self.sku is not None and not set(self.sku) & set("*?[")
        return (plain, *(getattr(self, key) is not None for key in _KEYS))

    @property
    def key(self) -> tuple[str | None, ...]:
        return tuple(getattr(self, key) for key in _KEYS)


class Commitment(Dated):
    """Hours that are paid each month at a committed rate, used or not; what is above them is paid on demand."""

    begin: date = Field(alias="from")
    provider: str
    sku: str
    region: str | None = None
    service: str = "compute"
    hours: Amount
    """A month."""
    rate: Amount
    """Of one hour."""
    currency: Currency | None = None
    """The list's own if not given."""


class Rate(Row):
    """What one unit of a currency is in the book's."""

    currency: Currency = Field(alias="from")
    rate: Annotated[Decimal, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
    as_of: date
    source: str = Field(min_length=1)


class Tax(Dated):
    """A tax on what a target bills."""

    begin: date = Field(alias="from")
    what: str = Field(min_length=1)
    percent: Percent
    providers: tuple[str, ...] | None = None
    """Whose bills; all if not given."""
    categories: tuple[Category, ...] | None = None
    """Which kinds of lines; all if not given."""


class PriceBook(Row):
    """The whole of a book. As a `discount` of `estimate` and `compare` it is asked for each price, then for the whole."""

    currency: Currency = "USD"
    """What everything is shown in."""
    rates: tuple[Rate, ...] = ()
    discounts: tuple[Discount, ...] = ()
    commitments: tuple[Commitment, ...] = ()
    taxes: tuple[Tax, ...] = ()
    prices: tuple[OwnPrice, ...] = ()
    committed_spend: tuple[CommittedSpend, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for first, one in enumerate(self.discounts):
            for second, other in enumerate(self.discounts[first + 1 :], start=first + 1):
                if one.key == other.key and _overlap(one, other):
                    raise ValueError(f"discounts.{first} and discounts.{second} are for the same prices in the same days: keep one")
        listed = [rate.currency for rate in self.rates]
        if twice := sorted({name for name in listed if listed.count(name) > 1}):
            raise ValueError(f"two rates of {twice[0]}: keep the newest")
        own = [(each.provider, each.service, each.sku, each.region, each.purchase, each.tier_from) for each in self.prices]
        if again := next((key for key in own if own.count(key) > 1), None):
            raise ValueError(f"two prices of {again[2]} in {again[3]}: keep one")
        return self

    @cached_property
    def _rates(self) -> Mapping[str, Rate]:
        return {rate.currency: rate for rate in self.rates}

    # ---------------------------------------------------------------- prices

    def supplied(self, catalogue: Catalogue) -> Catalogue:
        """A catalogue with the book's own prices in it; the same one each time."""
        known = self._supplied
        if catalogue not in known:
            known[catalogue] = supplied(catalogue, self.prices)
        return known[catalogue]

    @cached_property
    def _supplied(self) -> WeakKeyDictionary[Catalogue, Catalogue]:
        return WeakKeyDictionary()

    def without_commitments(self) -> Self:
        """The book for a part of what is bought: what was committed is for all of it together."""
        return self.model_copy(update={"commitments": (), "committed_spend": ()})

    def __call__(self, fact: Fact, price: Price) -> Price:
        """The price after today's discounts."""
        return self._of_today(fact, price)

    @cached_property
    def _of_today(self) -> Callable[[Fact, Price], Price]:
        return self.discount()

    def discount(self, day: date | None = None) -> Callable[[Fact, Price], Price]:
        """What a quote asks of each list price: the same, or the price after the discount that holds on `day` (today)."""
        when = day or today()
        holding = sorted((each for each in self.discounts if each.holds(when)), key=lambda each: each.exactness, reverse=True)

        def discounted(fact: Fact, price: Price) -> Price:
            best = next((each for each in holding if each.covers(fact)), None)
            return price if best is None or price.free else self._less(best, fact, price)

        return discounted

    def _less(self, discount: Discount, fact: Fact, price: Price) -> Price:
        if discount.percent is not None:
            words = f"{discount.percent.normalize():f} % off ({discount.source})"
            return _with(price, price.value * (100 - discount.percent) / 100, words)
        if discount.unit != price.unit:
            raise SpecError(
                f"price book: discounts: {discount.sku}: unit is {discount.unit!r}, and {fact.provider} has it by {price.unit!r}",
                hint=f"give the price of one {price.unit}",
            )
        assert discount.price is not None  # noqa: S101 - the book's own check: percent or price
        value = discount.price * self._between(discount.currency or price.currency, price.currency)
        return _with(price, value, f"negotiated ({discount.source})")

    def _between(self, source: str, target: str) -> Decimal:
        """What one unit of a currency is in another, by the book's rates."""
        return Decimal(1) if source == target else self._factor(source) / self._factor(target)

    def _factor(self, currency: str) -> Decimal:
        return Decimal(1) if currency == self.currency else self._rate(currency).rate

    def _rate(self, currency: str) -> Rate:
        rate = self._rates.get(currency)
        if rate is None:
            known = f"it has {', '.join(sorted(self._rates))}" if self._rates else "it has none"
            raise SpecError(
                f"price book: rates: no rate from {currency} to {self.currency} ({known})",
                hint=f'add [[rates]] from = "{currency}", rate = ..., as_of = ..., source = ...',
            )
        return rate

    # ---------------------------------------------------------------- estimates

    def applied(self, estimate: Estimate, math: Arithmetic = EXACT, day: date | None = None) -> Estimate:
        """An estimate with commitments, in the book's currency, with taxes. Discounts are in its unit prices already."""
        when = day or today()
        provider = estimate.place.partition(" ")[0]
        warnings = list(estimate.warnings)
        settled = self._spent(list(self._committed(estimate, math, when, warnings)), estimate, math, when, warnings)
        lines = [self._converted(line, math) for line in settled]
        taxes = list(self._taxes(lines, provider, math, when))
        used = sorted({line.price.currency for line in estimate.lines if line.price is not None} - {self.currency})
        rates = tuple(_rate_words(self._rate(currency), self.currency) for currency in used)
        facts = {**estimate.facts, **{name: self._money(estimate, name, math) for name in _MONEY if name in estimate.facts}}
        return estimate._replace(
            lines=[*lines, *taxes],
            left_out=tuple(words for words in estimate.left_out if not (taxes and words == "tax")),
            currency=self.currency,
            warnings=tuple(warnings),
            assumptions=(*estimate.assumptions, *rates),
            facts=facts,
        )

    def _money(self, estimate: Estimate, name: str, math: Arithmetic) -> Number:
        return estimate.facts[name] * math.number(self._factor(estimate.currency))

    def _committed(self, estimate: Estimate, math: Arithmetic, when: date, warnings: list[str]) -> Iterator[Line]:
        """The lines with those hours at on-demand prices that no commitment pays, and a line for each commitment."""
        lines = list(estimate.lines)
        done: set[int] = set()
        bought: list[Line] = []
        for commitment in (each for each in self.commitments if each.holds(when)):
            found = [at for at, line in enumerate(lines) if at not in done and _is_for(commitment, line)]
            if not found:
                warnings.append(f"price book: the commitment to {commitment.sku} ({commitment.source}) is not used here, and not counted")
                continue
            done.update(found)
            used = sum((lines[at].quantity for at in found), start=_NOTHING)
            hours = math.number(commitment.hours) * estimate.months
            above = math.most(used - hours, math.number(0)) / math.most(used, math.number("1e-12"))
            bought.append(self._bought(commitment, lines[found[0]], hours, math))
            for at in found:
                cost = lines[at].cost
                words = f"{lines[at].formula}; only hours above the commitment of {commitment.hours.normalize():f} h a month ({commitment.source})"
                lines[at] = lines[at]._replace(amount=cost * above if cost is not None else None, formula=words)
        return iter([*lines, *bought])

    def _spent(self, lines: list[Line], estimate: Estimate, math: Arithmetic, when: date, warnings: list[str]) -> list[Line]:
        """The lines under each commitment of spend, one after the other."""
        for spend in (each for each in self.committed_spend if each.holds(when)):
            found = spent(lines, estimate.lines, spend, estimate.hours, math)
            if found is None:
                warnings.append(f"price book: {spend.what} ({spend.source}) covers nothing here, and is not counted")
            else:
                lines = found
        return lines

    def _bought(self, commitment: Commitment, like: Line, hours: Number, math: Arithmetic) -> Line:
        listed = like.price
        assert listed is not None  # noqa: S101 - only priced lines are matched
        value = commitment.rate * self._between(commitment.currency or listed.currency, listed.currency)
        price = Price(value, "hour", commitment.source, commitment.begin, listed.currency, discount="committed", free=not value)
        words = f"{commitment.hours.normalize():f} h a month, paid whether used or not, x months"
        amount = None if math is EXACT else hours * math.number(value)
        return Line("commitments", like.category, f"{commitment.sku}, committed", hours, "hour", price, words, amount)

    def _converted(self, line: Line, math: Arithmetic) -> Line:
        """A line in the book's currency."""
        price = line.price
        if price is None or price.currency == self.currency:
            return line
        rate = self._rate(price.currency)
        words = _rate_words(rate, self.currency)
        listed = price.listed * rate.rate if price.listed is not None else None
        derived = f"{price.derived_from}; {words}" if price.derived_from else words
        money = price._replace(value=price.value * rate.rate, listed=listed, currency=self.currency, derived_from=derived)
        amount = line.amount * math.number(rate.rate) if line.amount is not None else None
        return line._replace(price=money, amount=amount)

    def _taxes(self, lines: list[Line], provider: str, math: Arithmetic, when: date) -> Iterator[Line]:
        for tax in self.taxes:
            if not tax.holds(when) or (tax.providers is not None and provider not in tax.providers):
                continue
            costs = [line.cost for line in lines if line.cost is not None and line.category in (tax.categories or get_args(Category))]
            taxed = sum(costs, start=_NOTHING)
            price = Price(tax.percent / 100, self.currency.lower(), tax.source, tax.begin, self.currency, free=not tax.percent)
            amount = None if math is EXACT else taxed * math.number(price.value)
            words = f"{tax.percent.normalize():f} % of {', '.join(tax.categories) if tax.categories else 'all that is priced'}"
            yield Line("taxes", "tax", tax.what, taxed, self.currency.lower(), price, words, amount)


_MONEY = ("capital", "capital_cost")


def today() -> date:
    """The day for which discounts are looked up."""
    return datetime.now(UTC).date()


def _with(price: Price, value: Decimal, words: str) -> Price:
    listed = price.listed if price.listed is not None else price.value
    return price._replace(value=value, listed=listed, discount=words, free=price.free or not value)


def _is_for(commitment: Commitment, line: Line) -> bool:
    fact = line.fact
    return (
        fact is not None
        and line.price is not None
        and line.unit == "hour"
        and fact.purchase == "on_demand"
        and (fact.provider, fact.service, fact.sku) == (commitment.provider, commitment.service, commitment.sku)
        and commitment.region in (None, fact.region)
    )


def _rate_words(rate: Rate, target: str) -> str:
    return f"1 {rate.currency} = {rate.rate.normalize():f} {target} ({rate.source}, {rate.as_of})"


def _overlap(one: Dated, other: Dated) -> bool:
    first, last = date.min, date.max
    return (one.begin or first) <= (other.end or last) and (other.begin or first) <= (one.end or last)


# ---------------------------------------------------------------- files


def load(path: Path) -> PriceBook:
    """A price book from a TOML file. Raises SpecError with file, line, field, and what would be right."""
    written = tables.read(path, decimals=True, hint="examples/cost/book.toml is one to begin with")
    book = tables.checked(written.table, PriceBook, written.say)
    _require_known(book, written.say)
    return book


def _require_known(book: PriceBook, say: Callable[[Place], str]) -> None:
    """Discounts and commitments are of price lists that there are, taxes of providers that there are."""
    lists, providers = default().names(), pricing.names()
    facts = [fact for name in lists for fact in default().list(name).facts] if book.prices else []
    for at, price in enumerate(book.prices):
        _require(price.provider, lists, say(("prices", at, "provider")))
        for key in ("service", "purchase"):
            told, known = getattr(price, key), sorted({getattr(fact, key) for fact in facts})
            if told not in known:
                raise SpecError(f"{say(('prices', at, key))}: there is no {told!r}", hint=nearest(told, known))
    catalogue = book.supplied(default())
    rows: Sequence[tuple[str, int, Discount | Commitment]] = [
        *(("discounts", at, row) for at, row in enumerate(book.discounts)),
        *(("commitments", at, row) for at, row in enumerate(book.commitments)),
    ]
    for table, number, row in rows:
        _require(row.provider, lists, say((table, number, "provider")))
        _require_facts(row, catalogue, (table, number), say)
    for at, spend in enumerate(book.committed_spend):
        for name in spend.providers:
            _require(name, [*lists, OWN], say(("committed_spend", at, "providers")))
    for at, tax in enumerate(book.taxes):
        for name in tax.providers or ():
            _require(name, providers, say(("taxes", at, "providers")))


def _require_facts(row: Discount | Commitment, catalogue: Catalogue, place: Place, say: Callable[[Place], str]) -> None:
    """What is named must be in the list: a discount that nothing gets would be silent."""
    facts = catalogue.list(row.provider).facts
    for key in ("service", "region", "purchase", "sku"):
        told = getattr(row, key, None)
        if told is not None and not any(fnmatchcase(getattr(fact, key), told) for fact in facts):
            known = sorted({getattr(fact, key) for fact in facts})
            near = difflib.get_close_matches(told, known, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"`mlport cost prices {row.provider}` lists them"
            raise SpecError(f"{say((*place, key))}: {told!r} is not in the price list {row.provider!r}", hint=hint)
    if isinstance(row, Discount) and row.price is not None:
        units = sorted({fact.unit for fact in facts if row.covers(fact)})
        if units and row.unit not in units:
            raise SpecError(f"{say((*place, 'unit'))}: the list has {row.sku} by {' and '.join(units)}, not by {row.unit!r}")


def _require(name: str, known: Sequence[str], where: str) -> None:
    if name not in known:
        raise SpecError(f"{where}: no prices of {name!r} are known", hint=nearest(name, known))


def checked(table: Mapping[str, Any], where: str) -> PriceBook:
    """A table as a price book. Raises SpecError."""
    return tables.checked(table, PriceBook, lambda place: f"{where}: {dotted(place)}")


def find(file: Path | None = None) -> PriceBook | None:
    """The book that mlport.toml names (`file`, or the nearest one); None where it names none, or there is no such file."""
    path = file or find_file()
    if path is None:
        return None
    told = read_file(path).prices.book
    if told is None:
        return None
    place = path.parent / told.expanduser()
    if not place.is_file():
        raise ConfigError(f"{path}: prices.book: {place}: no such file")
    return load(place)
