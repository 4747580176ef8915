"""The price book: discounts, committed rates, currency and taxes, and what a bad book is told."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlport.costs.arithmetic import EXACT, Sampled
from mlport.costs.book import PriceBook, checked, find, load
from mlport.costs.catalogue import price_of
from mlport.costs.estimate import estimate
from mlport.costs.facts import Fact
from mlport.costs.records import Estimate, Line, Price
from mlport.costs.workload import Workload
from mlport.errors import ConfigError, SpecError

EXAMPLE = Path(__file__).parents[3] / "examples" / "cost" / "book.toml"
LAWS = settings(deadline=None, derandomize=True)
DAY = date(2026, 11, 23)
EURO = {"from": "EUR", "rate": "1.08", "as_of": "2026-11-20", "source": "ECB"}


def book(**tables: Any) -> PriceBook:
    return checked(tables, "book.toml")


def fact(sku: str = "n1-standard-4", purchase: str = "on_demand", price: str = "0.20", **fields: Any) -> Fact:
    told = {"provider": "gcp", "service": "compute", "region": "here", "unit": "hour", "tier_from": Decimal(0), "currency": "USD", **fields}
    return Fact(sku=sku, purchase=purchase, price=Decimal(price), as_of=DAY, source="list", **told)


def after(discounts: list[dict[str, Any]], what: Fact, day: date = DAY, **tables: Any) -> Price:
    rows = [{"source": "contract", "provider": "gcp", **row} for row in discounts]
    return book(discounts=rows, **tables).discount(day)(what, price_of(what))


def bill(*lines: tuple[str, str], purchase: str = "on_demand", months: int = 1, **fields: Any) -> Estimate:
    """An estimate of machine hours: (hours, price)."""
    facts = [fact(price=price, purchase=purchase, **fields) for _, price in lines]
    found = [
        Line(f"part_{at}", "training", "machines", Decimal(hours), "hour", price_of(each), "hours", fact=each)
        for at, ((hours, _), each) in enumerate(zip(lines, facts, strict=True))
    ]
    return Estimate("cloud", "gcp here", Decimal(months), "USD", found)


# ---------------------------------------------------------------- discounts


def test_a_percentage_leaves_the_list_price_to_be_seen() -> None:
    found = after([{"percent": 15}], fact())
    assert (found.value, found.listed, found.discount) == (Decimal("0.17"), Decimal("0.20"), "15 % off (contract)")


def test_what_is_more_exactly_named_wins() -> None:
    rows = [{"percent": 10}, {"service": "compute", "percent": 20}, {"sku": "n1-*", "percent": 30}, {"sku": "n1-standard-4", "percent": 40}]
    for count, percent in enumerate((10, 20, 30, 40), start=1):
        for told in (rows[:count], rows[count - 1 :: -1]):
            assert after(told, fact()).value == Decimal("0.20") * (100 - percent) / 100
    assert after(rows, fact("e2-standard-4")).value == Decimal("0.16")
    assert after(rows, fact(provider="aws")).value == Decimal("0.20")


def test_spot_and_reserved_prices_are_only_touched_where_they_are_named() -> None:
    for purchase in ("spot", "reserved_1y"):
        assert after([{"percent": 50}], fact(purchase=purchase)).discount == ""
        assert after([{"percent": 50, "purchase": purchase}], fact(purchase=purchase)).value == Decimal("0.10")
        assert after([{"percent": 50, "purchase": purchase}], fact()).discount == ""


def test_a_discount_holds_from_its_first_to_its_last_day() -> None:
    row = {"percent": 50, "from": "2026-01-01", "to": "2026-12-31"}
    for day, value in ((date(2025, 12, 31), "0.20"), (date(2026, 1, 1), "0.10"), (date(2026, 12, 31), "0.10"), (date(2027, 1, 1), "0.20")):
        assert after([row], fact(), day).value == Decimal(value)


def test_a_negotiated_price_is_taken_in_its_unit_and_currency() -> None:
    dbu = fact("PREMIUM_JOBS", service="dbu", unit="dbu")
    row = {"service": "dbu", "sku": "PREMIUM_JOBS", "price": "0.12", "unit": "dbu"}
    assert after([row], dbu).value == Decimal("0.12")
    assert after([{**row, "currency": "EUR"}], dbu, rates=[EURO]).value == Decimal("0.12") * Decimal("1.08")
    with pytest.raises(SpecError, match="unit is 'hour', and gcp has it by 'dbu'"):
        after([{**row, "unit": "hour"}], dbu)
    with pytest.raises(SpecError, match="no rate from EUR to USD"):
        after([{**row, "currency": "EUR"}], dbu)


def test_what_is_free_stays_free() -> None:
    assert after([{"sku": "n1-standard-4", "price": "0.1", "unit": "hour"}], fact(price="0")).value == 0


@LAWS
@given(st.decimals("0.000001", "1000", places=6), st.decimals("0", "100", places=3))
def test_a_discounted_price_is_between_nothing_and_the_list_price(price: Decimal, percent: Decimal) -> None:
    what = fact(price=str(price))
    found = after([{"percent": percent}], what)
    assert 0 <= found.value <= price
    assert found.listed == price


# ---------------------------------------------------------------- commitments, currency, taxes


def committed(hours: object, rate: str = "0.126", **fields: Any) -> dict[str, Any]:
    return {"provider": "gcp", "sku": "n1-standard-4", "hours": hours, "rate": rate, "source": "CUD", "from": "2026-01-01", **fields}


def test_committed_hours_are_paid_and_the_rest_is_on_demand() -> None:
    found = book(commitments=[committed(730)]).applied(bill(("600", "0.20"), ("400", "0.20")))
    assert found.total == 730 * Decimal("0.126") + 270 * Decimal("0.20")
    assert found.lines[-1].part == "commitments"
    unused = book(commitments=[committed(730)]).applied(bill(("100", "0.20")))
    assert unused.total == 730 * Decimal("0.126")


def test_a_commitment_pays_from_its_rate_over_the_list_price_on() -> None:
    """a2-highgpu-1g in us-central1, one year: .6300 of the hours (Cloud Billing Catalog, 2026-08-20)."""
    rate, listed = "2.314207", "3.673385"
    for used, cheaper in ((459, False), (460, True)):
        plain = bill((str(used), listed))
        found = book(commitments=[committed(730, rate)]).applied(plain)
        assert (found.total < plain.total) is cheaper


def test_a_commitment_to_something_else_is_not_counted_and_said() -> None:
    for other in (bill(("100", "0.20"), sku="e2-standard-4"), bill(("100", "0.20"), purchase="spot")):
        found = book(commitments=[committed(730)]).applied(other)
        assert found.total == other.total
        assert "is not used here" in found.warnings[-1]


def test_everything_is_shown_in_one_currency_with_the_rate_and_its_day() -> None:
    told = book(currency="EUR", rates=[{"from": "USD", "rate": "0.9", "as_of": "2026-11-20", "source": "ECB"}])
    found = told.applied(bill(("100", "0.20")))
    (line,) = found.lines
    assert line.price is not None
    assert (found.currency, found.total, line.price.value, line.price.currency) == ("EUR", 18, Decimal("0.18"), "EUR")
    assert found.assumptions == ("1 USD = 0.9 EUR (ECB, 2026-11-20)",)
    assert line.price.derived_from == found.assumptions[0]
    with pytest.raises(SpecError, match="no rate from USD to EUR"):
        book(currency="EUR").applied(bill(("100", "0.20")))


def test_taxes_are_lines_of_their_own() -> None:
    vat = {"what": "VAT", "percent": 19, "source": "UStG", "from": "2007-01-01"}
    found = book(taxes=[vat]).applied(bill(("100", "0.20"))._replace(left_out=("tax", "support")))
    assert (found.total, found.by_category()["tax"]) == (Decimal("23.8"), Decimal("3.8"))
    assert found.left_out == ("support",)
    assert book(taxes=[{**vat, "providers": ["aws"]}]).applied(bill(("100", "0.20"))).total == 20
    assert book(taxes=[{**vat, "categories": ["storage"]}]).applied(bill(("100", "0.20"))).total == 20
    assert book(taxes=[{**vat, "to": "2020-12-31"}]).applied(bill(("100", "0.20"))).total == 20


@LAWS
@given(st.lists(st.floats(0.01, 10000), min_size=1, max_size=6), st.integers(0, 2000), st.integers(1, 36))
def test_samples_are_settled_as_single_estimates_are(hours: list[float], bought: int, months: int) -> None:
    told = book(
        currency="EUR",
        rates=[{"from": "USD", "rate": "0.9", "as_of": "2026-11-20", "source": "ECB"}],
        commitments=[committed(bought)],
        taxes=[{"what": "VAT", "percent": 19, "source": "UStG", "from": "2007-01-01"}],
    )
    ones = [float(told.applied(bill((repr(each), "0.20"), months=months), EXACT).total) for each in hours]
    plain = bill(("1", "0.20"), months=months)
    (line,) = plain.lines
    quantity = np.asarray(hours)
    sampled = Line(line.part, line.category, line.what, quantity, line.unit, line.price, line.formula, quantity * 0.20, fact=line.fact)
    many = told.applied(Estimate(plain.target, plain.place, float(months), "USD", [sampled]), Sampled())
    assert many.total == pytest.approx(ones)


@LAWS
@given(st.decimals("0", "5000", places=2), st.decimals("0", "5000", places=2), st.integers(0, 2000))
def test_more_hours_never_cost_less_under_a_commitment(one: Decimal, other: Decimal, bought: int) -> None:
    told = book(commitments=[committed(bought)])
    fewer, more = (told.applied(bill((str(hours), "0.20"))).total for hours in sorted((one, other)))
    assert fewer <= more + Decimal("1e-9")


HARDWARE = {
    "name": "lab", "source": "test", "as_of": "2026-11-23", "interest": 0, "utilization": 1,
    "machines": [{"name": "box", "vcpus": 64, "memory_gib": 256, "years": 5, "purchase": [{"what": "box", "price": 6000}]}],
}  # fmt: skip


def test_an_estimate_takes_the_whole_book() -> None:
    parts = {"training": [{"compute": {"cpus": 4, "memory_gib": 15}, "hours": 100}]}
    targets = {"vertex": {"region": "us-central1"}, "local": {"hardware": HARDWARE}}
    workload = Workload.model_validate({**parts, "targets": targets})
    told = book(
        currency="EUR",
        rates=[{"from": "USD", "rate": "0.9", "as_of": "2026-11-20", "source": "ECB"}],
        discounts=[{"provider": "vertex", "percent": 50, "source": "contract"}],
        taxes=[{"what": "VAT", "percent": 20, "source": "law", "from": "2020-01-01", "providers": ["vertex"]}],
    )
    plain, found = estimate(workload, "vertex"), estimate(workload, "vertex", discount=told)
    assert found.currency == "EUR"
    assert found.total == pytest.approx(plain.total * Decimal("0.5") * Decimal("0.9") * Decimal("1.2"))
    owned = estimate(workload, "local", discount=told)
    assert owned.total == Decimal(6000) / 60 * Decimal("0.9")
    assert owned.facts["capital"] == 5400


# ---------------------------------------------------------------- files


def test_the_example_is_read() -> None:
    found = load(EXAMPLE)
    assert found.discounts
    assert found.commitments
    assert found.taxes


def test_the_book_is_found_by_mlport_toml(tmp_path: Path) -> None:
    file = tmp_path / "mlport.toml"
    file.write_text('[prices]\nbook = "prices/book.toml"\n')
    with pytest.raises(ConfigError, match=r"prices\.book: .*no such file"):
        find(file)
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "book.toml").write_text('currency = "CHF"\n')
    found = find(file)
    assert found is not None
    assert found.currency == "CHF"
    file.write_text("")
    assert find(file) is None


DISCOUNT = {"provider": "gcp", "source": "x"}


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"discounts": [{**DISCOUNT, "percent": 101}]}, "discounts[0].percent"),
        ({"discounts": [{**DISCOUNT, "percent": -1}]}, "discounts[0].percent"),
        ({"discounts": [DISCOUNT]}, "discounts[0]: give either percent or price"),
        ({"discounts": [{**DISCOUNT, "price": 1}]}, "discounts[0]: a negotiated price needs the sku and the unit"),
        (
            {"discounts": [{**DISCOUNT, "percent": 1, "from": "2026-02-01", "to": "2026-01-01"}]},
            "to (2026-01-01) is before from (2026-02-01)",
        ),
        ({"discounts": [{**DISCOUNT, "percent": 1}, {**DISCOUNT, "percent": 2}]}, "discounts.0 and discounts.1 are for the same prices"),
        ({"discounts": [{"provider": "gcp", "percent": 1}]}, "discounts[0].source: is required"),
        ({"discounts": [{**DISCOUNT, "percnt": 1}]}, "discounts[0].percnt: unknown field, did you mean 'percent'?"),
        ({"commitments": [committed(-1)]}, "commitments[0].hours"),
        ({"commitments": [committed(1, **{"from": None})]}, "commitments[0].from"),
        ({"commitments": [committed("many")]}, "commitments[0].hours"),
        ({"rates": [{**EURO, "rate": 0}]}, "rates[0].rate"),
        ({"rates": [EURO, EURO]}, "two rates of EUR"),
        ({"rates": [{"from": "EUR", "rate": 1, "source": "x"}]}, "rates[0].as_of: is required"),
        ({"currency": "euro"}, "currency"),
        ({"taxes": [{"what": "VAT", "percent": "many", "source": "x"}]}, "taxes[0].percent"),
        ({"discount": []}, "discount: unknown field, did you mean 'discounts'?"),
    ],
)
def test_a_bad_book_is_told_file_table_and_field(tables: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        checked(tables, "book.toml")
    assert str(caught.value).startswith("book.toml: ")
    assert said in str(caught.value)


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        load(tmp_path / "none.toml")
    path = tmp_path / "book.toml"
    path.write_text("currency = \n")
    with pytest.raises(SpecError, match=r"book\.toml: .*line 1"):
        load(path)
    path.write_text('[[discounts]]\nprovider = "gpc"\npercent = 1\nsource = "x"\n')
    with pytest.raises(SpecError, match=r"(?s)discounts\[0\]\.provider: no prices of 'gpc'.*did you mean 'gcp'"):
        load(path)
    path.write_text('[[discounts]]\nprovider = "gcp"\nsku = "n2-standard-44"\npercent = 1\nsource = "x"\n')
    with pytest.raises(SpecError, match=r"(?s)discounts\[0\]\.sku: 'n2-standard-44' is not in the price list.*n2-standard-4"):
        load(path)
