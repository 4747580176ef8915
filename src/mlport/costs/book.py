"""The price book: what one really pays instead of list prices. Discounts, negotiated and committed rates, currency, taxes.

A TOML file that `[prices] book = "book.toml"` of mlport.toml names. `examples/cost/book.toml` shows all of it.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlport.config import find_file, read_file
from mlport.costs import pricing
from mlport.costs.arithmetic import EXACT, Arithmetic, Number
from mlport.costs.catalogue import default, nearest
from mlport.costs.facts import Fact
from mlport.costs.records import Category, Estimate, Line, Price
from mlport.costs.workload import LARGEST
from mlport.errors import ConfigError, SpecError
from mlport.fields import describe_problems

Currency = Annotated[str, Field(pattern="^[A-Z]{3}$")]
Percent = Annotated[Decimal, Field(ge=0, le=100, allow_inf_nan=False)]
Amount = Annotated[Decimal, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
_KEYS = ("sku", "region", "service", "purchase", "provider")
_REGULAR = ("on_demand", "serverless")
_NOTHING: Number = 0  # of either arithmetic


class Row(BaseModel):
    """Base of what a book holds: unknown keys are refused with the nearest valid one."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Dated(Row):
    """What holds from a day, up to and with another."""

    begin: date | None = Field(None, alias="from")
    end: date | None = Field(None, alias="to")
    source: str = Field(min_length=1)
    """The contract, as lines show it."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.begin and self.end and self.end < self.begin:
            raise ValueError(f"to ({self.end}) is before from ({self.begin})")
        return self

    def holds(self, day: date) -> bool:
        """Whether it holds on a day."""
        return (self.begin or day) <= day <= (self.end or day)


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
        if self.purchase is None and fact.purchase not in _REGULAR:
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for first, one in enumerate(self.discounts):
            for second, other in enumerate(self.discounts[first + 1 :], start=first + 1):
                if one.key == other.key and _overlap(one, other):
                    raise ValueError(f"discounts.{first} and discounts.{second} are for the same prices in the same days: keep one")
        listed = [rate.currency for rate in self.rates]
        if twice := sorted({name for name in listed if listed.count(name) > 1}):
            raise ValueError(f"two rates of {twice[0]}: keep the newest")
        return self

    @cached_property
    def _rates(self) -> Mapping[str, Rate]:
        return {rate.currency: rate for rate in self.rates}

    # ---------------------------------------------------------------- prices

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
        lines = [self._converted(line, math) for line in self._committed(estimate, math, when, warnings)]
        taxes = list(self._taxes(lines, provider, math, when))
        used = sorted({line.price.currency for line in estimate.lines if line.price is not None} - {self.currency})
        rates = tuple(_rate_words(self._rate(currency), self.currency) for currency in used)
        facts = {**estimate.facts, **{name: self._money(estimate, name, math) for name in _MONEY if name in estimate.facts}}
        return replace(
            estimate,
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
                lines[at] = replace(lines[at], amount=cost * above if cost is not None else None, formula=words)
        return iter([*lines, *bought])

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
        money = replace(price, value=price.value * rate.rate, listed=listed, currency=self.currency, derived_from=derived)
        amount = line.amount * math.number(rate.rate) if line.amount is not None else None
        return replace(line, price=money, amount=amount)

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
    return replace(price, value=value, listed=listed, discount=words, free=price.free or not value)


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
    """A price book from a TOML file. Raises SpecError with file, table, field, and what would be right."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except FileNotFoundError as error:
        raise SpecError(f"price book: {path}: no such file", hint="examples/cost/book.toml is one to begin with") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: {error}") from error
    book = checked(table, str(path))
    _require_known(book, path)
    return book


def _require_known(book: PriceBook, path: Path) -> None:
    """Discounts and commitments are of price lists that there are, taxes of providers that there are."""
    lists, providers = default().names(), pricing.names()
    for table in ("discounts", "commitments"):
        for at, row in enumerate(getattr(book, table)):
            where = f"{path}: {table}.{at}"
            _require(row.provider, lists, f"{where}.provider")
            _require_facts(row, where)
    for at, tax in enumerate(book.taxes):
        for name in tax.providers or ():
            _require(name, providers, f"{path}: taxes.{at}.providers")


def _require_facts(row: Discount | Commitment, where: str) -> None:
    """What is named must be in the list: a discount that nothing gets would be silent."""
    facts = default().list(row.provider).facts
    for key in ("service", "region", "sku"):
        told = getattr(row, key)
        if told is not None and not any(fnmatchcase(getattr(fact, key), told) for fact in facts):
            known = sorted({getattr(fact, key) for fact in facts})
            near = difflib.get_close_matches(told, known, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"`mlport cost prices {row.provider}` lists them"
            raise SpecError(f"{where}.{key}: {told!r} is not in the price list {row.provider!r}", hint=hint)


def _require(name: str, known: Sequence[str], where: str) -> None:
    if name not in known:
        raise SpecError(f"{where}: no prices of {name!r} are known", hint=nearest(name, known))


def checked(table: Mapping[str, Any], where: str) -> PriceBook:
    """A table as a price book. Raises SpecError."""
    try:
        return PriceBook.model_validate(dict(table))
    except ValidationError as error:
        raise SpecError(f"{where}: {describe_problems(error, PriceBook)}") from error


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
