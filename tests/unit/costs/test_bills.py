"""Bills in the FOCUS format: read, checked, grouped, and held against what was expected."""

from __future__ import annotations

import csv
import gzip
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlport.costs.bills.reading import Charge, group, only, read, totals
from mlport.costs.bills.reconciling import Expected, Match, expectations, reconcile
from mlport.costs.records import Estimate, Line, Price
from mlport.errors import SpecError

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[3]
NEW, OLD = DATA / "focus-1.2.csv", DATA / "focus-1.0.csv"
TIMES = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")
AMOUNTS = re.compile(r"Cost$|Quantity$|UnitPrice$")
AUGUST = datetime(2026, 8, 1, tzinfo=UTC)
PLAIN = Charge(
    where="bill: line 2", provider="P", service="S", service_category=None, sku="K", meter=None, description=None, details={}, resource=None,
    region="here", account=None, category="Usage", correction=False, pricing="Standard", currency="USD", period=AUGUST, begin=AUGUST,
    end=AUGUST, billed=Decimal(1), effective=Decimal(1), contracted=None, list=None, quantity=Decimal(1), unit="Hours", tags={},
)  # fmt: skip
AMOUNT = st.decimals(-10_000, 10_000, places=11)


def rows(path: Path = NEW) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def written(path: Path, found: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    return path


def said(charge: Charge) -> Charge:
    """Without where it stood."""
    return replace(charge, where="")


def test_a_bill_is_grouped_to_the_last_digit_and_currencies_stay_apart():
    found = {(each.key, each.currency): each for each in group(read(NEW), "service")}
    hours = [Decimal("26.75"), Decimal(100), Decimal(-3)]
    machines = sum(hours) * Decimal("0.154126") + Decimal("821.25") * Decimal("0.17") + 7 * Decimal("0.0616504") - Decimal("25.5")
    assert found["Example ML", "USD"].cost == machines
    assert (found["Example ML", "USD"].charges, found["Example ML", "USD"].quantity) == (6, None)  # a credit has no quantity
    assert (found["Example ML", "EUR"].cost, found["Example ML", "EUR"].unit) == (Decimal("2.0"), "Hours")
    assert totals(group(read(NEW), "sku")) == totals(found.values()) == {"EUR": Decimal("2.0"), "USD": Decimal("513.9271453")}
    assert found["Tax", "USD"].cost == Decimal("4.11")  # written as 41.1E-1


def test_a_bill_of_focus_1_0_as_exporters_write_it():
    """NULL, times without a zone, costs of 0 beside billed ones, refunds, a provider that is not said."""
    found = list(read(OLD))
    assert [each.contracted for each in found] == [Decimal("0E-11"), None, Decimal("-0.14900000000"), None]
    assert found[0].begin == found[0].end.replace(day=11) == datetime(2024, 9, 11, tzinfo=UTC)
    assert (found[2].quantity, found[2].tags, found[3].provider) == (Decimal("-1.00000000000"), {}, None)
    assert [each.key for each in group(iter(found), "tag:environment")] == [None, "prod", "dev"]
    assert group(iter(found), "provider")[0].key is None
    with pytest.raises(SpecError, match="ContractedCost is null"):
        group(iter(found), "service", "contracted")


def test_tags_are_found_with_and_without_the_prefix_of_their_scheme():
    found = group(only(read(NEW), [("label:mlport_profile", "prod"), ("category", "Usage")]), "tag:mlport_token")
    assert {each.key: each.charges for each in found} == {"t1": 2, "t2": 1, "t3": 1, "t4": 1, None: 1}
    both = replace(PLAIN, tags={"user:team": "a", "corp/team": "b"})
    with pytest.raises(SpecError, match=r"corp/team and user:team are both 'team'"):
        both.tag("team")
    assert both.tag("corp/team") == "b"
    assert [
        each.charges for each in group(only([PLAIN, replace(PLAIN, region="there")], [("region", "here"), ("region", "there")]), "sku")
    ] == [2]


@pytest.mark.parametrize("tags", ["json", "map", "records"])
@pytest.mark.parametrize("amounts", [pa.decimal128(38, 18), pa.float64()], ids=str)
def test_parquet_says_the_same_as_csv(tmp_path, tags, amounts):
    """Decimals or floats, timestamps, tags as JSON, as a map, or as records with key and value."""
    found = [{name: value or None for name, value in row.items()} for row in rows()]
    columns = {}
    for name in found[0]:
        values = [row[name] for row in found]
        if name in TIMES:
            columns[name] = pa.array([datetime.fromisoformat(value) for value in values], pa.timestamp("us", "UTC"))
        elif AMOUNTS.search(name):
            columns[name] = pa.array([value and (float(value) if amounts == pa.float64() else Decimal(value)) for value in values], amounts)
        elif name == "Tags" and tags != "json":
            pairs = [list(json.loads(value).items()) if value else None for value in values]
            record = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
            told = pairs if tags == "map" else [[{"key": k, "value": v} for k, v in pair] if pair is not None else None for pair in pairs]
            columns[name] = pa.array(told, pa.map_(pa.string(), pa.string()) if tags == "map" else record)
        else:
            columns[name] = pa.array(values, pa.string())
    pq.write_table(pa.table(columns), tmp_path / "bill.parquet", row_group_size=4)
    assert list(map(said, read(tmp_path / "bill.parquet"))) == list(map(said, read(NEW)))


def test_a_bill_is_read_as_it_is_needed(tmp_path):
    """The first charges are there before the last row, which is wrong, was looked at: nothing is held."""
    wrong = {**rows()[0], "BilledCost": "n/a"}
    with gzip.open(tmp_path / "bill.csv.gz", "wt", newline="") as stream:
        writer = csv.DictWriter(stream, list(wrong))
        writer.writeheader()
        writer.writerows([*[rows()[0]] * 3000, wrong])
    charges = read(tmp_path / "bill.csv.gz")
    assert sum(next(charges).billed for _ in range(3000)) == 3000 * Decimal("26.75") * Decimal("0.154126")
    with pytest.raises(SpecError, match=r"bill\.csv\.gz: line 3002: BilledCost: 'n/a' is not a number"):
        next(charges)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("BilledCost", "", "is null"),
        ("BilledCost", "$12.00", "'$12.00' is not a number such as -100.2"),
        ("BilledCost", "1,200.00", "'1,200.00' is not a number"),
        ("BilledCost", "nan", "'nan' is not a number"),
        ("EffectiveCost", "1E99", "is not a number of at most 1e+15"),
        ("PricingQuantity", "1 1/2", "'1 1/2' is not a number"),
        ("PricingQuantity", "1E999999999", "is not a number"),
        ("BillingCurrency", "dollars", "'dollars' is not a currency of ISO 4217, such as USD"),
        ("ChargeCategory", "usage", "'usage' is not one of Usage, Purchase, Tax"),
        ("ChargeClass", "Refund", "'Refund' is not Correction or null"),
        ("ChargePeriodEnd", "01/11/2026", "'01/11/2026' is not a time such as"),
        ("ChargePeriodEnd", "2026-09-01T00:00:00Z", "is before ChargePeriodStart"),
        ("Tags", "team=fraud", "is not a JSON object"),
        ("Tags", '["team"]', "is not a JSON object"),
        ("Tags", '{"team": {"a": 1}}', "is not 'team' once, with a plain value"),
        ("Tags", '{"team": "a", "team": "b"}', "is not 'team' once"),
    ],
)
def test_a_wrong_value_is_named_with_file_line_and_column(tmp_path, column, value, words):
    """The sixth row has two lines, so the eighth row begins on line 10."""
    found = rows()
    found[7][column] = value
    with pytest.raises(SpecError) as error:
        list(read(written(tmp_path / "bill.csv", found)))
    assert f"bill.csv: line 10: {column}: " in error.value.message
    assert words in error.value.message


def test_a_file_that_is_no_bill_is_refused(tmp_path):
    found = rows()
    renamed = [{("BilledCosts" if name == "BilledCost" else name): value for name, value in row.items()} for row in found]
    with pytest.raises(SpecError, match=r"line 1: no column BilledCost \(there is 'BilledCosts'\)"):
        list(read(written(tmp_path / "renamed.csv", renamed)))
    lines = NEW.read_text().splitlines()
    (tmp_path / "short.csv").write_text(f"{lines[0]}\n1,2,3\n")
    with pytest.raises(SpecError, match=r"short\.csv: line 2: 3 values, and the first line names 44 columns"):
        list(read(tmp_path / "short.csv"))
    (tmp_path / "twice.csv").write_text(f"{lines[0]},Tags\n")
    with pytest.raises(SpecError, match="Tags is there twice"):
        list(read(tmp_path / "twice.csv"))
    for name in ("bill.parquet", "bill.csv", "bill.csv.gz"):
        (tmp_path / name).write_bytes(b"\x1f\x8b\xff\xfenothing")
        with pytest.raises(SpecError, match=re.escape(str(tmp_path / name))):
            list(read(tmp_path / name))
    with pytest.raises(SpecError, match="no such file"):
        list(read(tmp_path / "absent.csv"))
    with pytest.raises(SpecError, match="counted twice"):
        list(read(NEW, DATA / ".." / "data" / NEW.name))
    with pytest.raises(SpecError, match="did you mean 'service'"):
        group(read(NEW), "servise")


@given(st.lists(st.tuples(AMOUNT, st.sampled_from(["a", "b", None]), st.sampled_from(["USD", "EUR"])), max_size=30), st.randoms())
def test_no_digit_is_lost_in_any_order(told, random):
    charges = [replace(PLAIN, billed=amount, service=service, currency=currency) for amount, service, currency in told]
    first = group(charges, "service")
    random.shuffle(charges)
    assert {(each.key, each.currency): each.cost for each in group(charges, "service")} == {
        (each.key, each.currency): each.cost for each in first
    }
    for currency in {currency for _, _, currency in told}:
        exact = sum((Fraction(amount) for amount, _, mine in told if mine == currency), start=Fraction(0))
        assert Fraction(totals(first)[currency]) == exact


# ---------------------------------------------------------------- against what was expected


def expected(**more) -> Expected:
    told = {
        "part": "p",
        "what": "machine",
        "amount": Decimal(10),
        "quantity": Decimal(10),
        "unit": "hour",
        "sku": "m5.xlarge",
        "region": "here",
    }
    return Expected(**{**told, "purchase": "on_demand", **more})


def used(hours: str, price: str, **more) -> Charge:
    told = {"billed": Decimal(hours) * Decimal(price), "quantity": Decimal(hours), "description": "Training on m5.xlarge"}
    return replace(PLAIN, **{**told, **more})


@pytest.mark.parametrize(
    ("charge", "status", "by_quantity", "by_price", "reason"),
    [
        (used("10", "1"), "agrees", "0", "0", ""),
        (used("36000", "0.0002777", unit="Seconds"), "agrees", "0", "-0.0028", ""),
        (used("12", "1"), "differs", "2", "0", "quantity +20.0 %"),
        (used("10", "0.8"), "differs", "0", "-2", "unit price -20.0 %"),
        (used("5", "2"), "agrees", "-5", "5", "quantity -50.0 %; unit price +100.0 %"),
        (used("10", "0.4", pricing="Dynamic"), "differs", "0", "-6", "unit price -60.0 %; paid as Dynamic, expected Standard"),
        (used("10", "1.5", unit="GB"), "differs", None, None, "amounts only: the bill counts in GB, the estimate in hour"),
        (used("10", "1.5", quantity=None), "differs", None, None, "amounts only: the bill counts in Hours, the estimate in hour"),
    ],
)
def test_a_difference_has_a_reason(charge, status, by_quantity, by_price, reason):
    (line,) = reconcile([charge], [expected()]).lines
    exact = [None if value is None else Decimal(value) for value in (by_quantity, by_price)]
    assert (line.status, [line.by_quantity, line.by_price], line.reason) == (status, exact, reason)


def test_what_is_only_on_one_side_is_said():
    bill = [
        used("1", "3", description="Notebook on ml.m5.xlarge"),  # another machine than m5.xlarge
        used("1", "4", region="there"),
        used("1", "5", currency="EUR"),
        used("1", "6", category="Credit", billed=Decimal(-6), quantity=None),
    ]
    found = reconcile(bill, [expected(), expected(sku="c5.large", amount=None), expected(sku="free", amount=Decimal(0))])
    assert [line.status for line in found.lines] == ["not billed", "not billed", "agrees", *["not expected"] * 4]
    assert [line.reason for line in found.lines if line.currency == "EUR"] == ["in EUR, and all that is expected is in USD"]
    assert found.sums == {"USD": (Decimal(10), Decimal(1)), "EUR": (Decimal(0), Decimal(5))}
    assert found.to_json()["totals"][0] == {"currency": "USD", "expected": 10.0, "billed": 1.0, "difference": -9.0, "at_least": True}
    (gap,) = reconcile([used("1", "3")], [expected(amount=None)]).lines
    assert (gap.status, gap.billed, gap.difference) == ("unpriced", Decimal(3), None)


def test_a_charge_goes_to_the_line_of_the_way_it_was_paid_or_to_the_one_a_rule_names():
    lines = [expected(part="day"), expected(part="night", purchase="spot"), expected(part="data", what="bucket", sku="")]
    bill = [used("10", "1"), used("10", "0.4", pricing="Dynamic"), used("7", "2", description="Standard storage", service="Buckets")]
    found = reconcile(bill, lines)
    assert [line.billed for line in found.lines] == [Decimal(10), Decimal("4.0"), None, Decimal(14)]
    ruled = reconcile(bill, lines, rules=[Match(part="data", service="bucket*")])
    assert [line.billed for line in ruled.lines] == [Decimal(10), Decimal("4.0"), Decimal(14)]
    with pytest.raises(SpecError, match="nothing is expected of part 'date'"):
        reconcile(bill, lines, rules=[Match(part="date", service="*")])


def test_lines_that_a_bill_cannot_tell_apart_are_expected_together():
    price = Price(Decimal("0.5"), "hour", "list", None)
    lines = [Line("one", "training", "disk", Decimal(4), "hour", price, ""), Line("two", "training", "disk", Decimal(2), "hour", None, "")]
    fact = next(iter(_catalogue().list("tiny").facts))
    found = expectations(Estimate("t", "t here", 1, "USD", [*lines, *(line._replace(fact=fact, price=price) for line in lines)]))
    assert [(each.part, each.amount, each.quantity) for each in found] == [
        ("one", Decimal("2.0"), Decimal(4)),
        ("two", None, Decimal(2)),
        ("one, two", Decimal("3.0"), Decimal(6)),
    ]


def _catalogue():
    from aids.pricing import catalogue

    return catalogue()


POSITIVE = st.decimals("0.001", 10_000, places=4)


@given(POSITIVE, POSITIVE, st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=5))
def test_the_parts_of_a_difference_are_the_difference(quantity, price, told):
    bill = [used(str(hours), str(rate)) for hours, rate in told]
    (line,) = reconcile(bill, [expected(quantity=quantity, amount=quantity * price)]).lines
    assert line.by_quantity + line.by_price == line.difference == sum(each.billed for each in bill) - quantity * price
    assert line.status == "agrees" or line.reason


# ---------------------------------------------------------------- commands


@pytest.fixture
def mlport(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return command


def test_the_command_groups_a_bill(mlport):
    status, out, _ = mlport("bill", str(NEW), "--by", "tag:mlport_token", "--only", "tag:mlport_profile=prod", "--json")
    found = json.loads(out)
    assert status == 0
    assert {each["key"] for each in found["groups"]} == {"t1", "t2", "t3", "t4", None}
    assert found["totals"] == [{"currency": "USD", "cost": pytest.approx(169.1171453)}]
    status, out, _ = mlport("bill", str(NEW), str(OLD))
    assert (status, out.splitlines()[-2:]) == (0, ["total  2.00 EUR", "total  514.56 USD"])
    assert mlport("bill", str(NEW), "--by", "nothing")[0] == 2


def test_the_command_holds_a_bill_against_a_workload(mlport, tmp_path):
    (tmp_path / "match.toml").write_text('[[match]]\npart = "data"\nservice = "Example Storage"\n')
    command = ("reconcile", str(NEW), "--workload", str(ROOT / "examples/cost/workload.toml"), "--target", "vertex")
    status, out, _ = mlport(*command, "--matches", "match.toml", "--json")
    found = json.loads(out)
    lines = {line["part"]: line for line in found["lines"] if line["part"]}
    assert (status, found["months"], found["agrees"]) == (0, 1, False)
    assert lines["data"]["status"] == "agrees"
    assert lines["nightly, search, online"]["billed_quantity"] == 26.75 + 100 + 821.25 - 3
    assert lines["nightly, search, online"]["reason"].endswith("%")
    billed = {total["currency"]: total["billed"] for total in found["totals"]}
    assert billed == {"USD": pytest.approx(513.9271453), "EUR": 2.0}
    status, out, _ = mlport(*command)
    assert (status, "expected: 1 month of flight-delays at vertex us-central1" in out) == (0, True)
    status, _, err = mlport("reconcile", str(OLD), *command[2:])
    assert (status, "the last charge of 2024-09 ends on 2024-09-12" in err) == (0, True)
    for wrong in (("--matches", "absent.toml"), ("--tolerance", "lots"), ("--only", "service=Nothing")):
        assert mlport(*command, *wrong)[0] == 2
