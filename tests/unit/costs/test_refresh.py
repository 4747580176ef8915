"""Refreshing a price list: what is taken, what is refused, and what remains when something breaks."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime

import pytest
from aids.replaying import Answer, replaying, served
from hypothesis import given
from hypothesis import strategies as st

from mlport.costs import catalogue
from mlport.costs.facts import Fact, pack
from mlport.costs.refreshing.changes import compared, is_leap
from mlport.costs.refreshing.refresh import refresh
from mlport.costs.refreshing.sources import Found
from mlport.costs.refreshing.web import Web
from mlport.errors import (
    ConfigError,
    ConflictError,
    DeadlineError,
    InvalidRequestError,
    NotFoundError,
    ProviderError,
    SpecError,
    ThrottledError,
    UnavailableError,
)
from mlport_azureml import price_source

OLD, NEW = date(2025, 3, 2), date(2026, 11, 20)


def fact(sku="small", price="1", region="here", purchase="on_demand", service="compute", as_of=OLD, **more):
    return Fact("tiny", service, sku, region, purchase, "hour", Decimal(0), Decimal(price), "USD", as_of, "the past", "", 2.0, 4.0, **more)


def found(sku="small", price="1", region="here", purchase="on_demand", as_of=NEW):
    return Found(sku, region, purchase, Decimal(price), as_of, "the source")


IN_FORCE = [
    fact(),
    fact("gpu", "3", gpu="T4", gpus=1, gpu_memory_gib=16.0),
    fact(purchase="spot", price="0.4"),
    fact(region="there", price="1.5"),
    fact("internet", "0.09", service="egress"),
]


def speaks_of(each):
    return each.service == "compute" and each.purchase in ("on_demand", "reserved_1y")


def changed(*rows, regions=("here",), in_force=IN_FORCE, speaks_of=speaks_of, left=None):
    return compared(in_force, rows, regions, speaks_of, Counter(), left)


# ---------------------------------------------------------------- what is taken


def test_prices_take_the_place_of_those_in_force_and_all_else_stays():
    changes = changed(found(price="1.2"), found("gpu", "3"), found("gpu", "2", purchase="reserved_1y"))
    by_name = {(each.service, each.sku, each.region, each.purchase): each for each in changes.facts}
    assert len(changes.facts) == len(IN_FORCE) + 1
    assert (by_name["compute", "small", "here", "on_demand"].price, by_name["compute", "small", "here", "on_demand"].as_of) == (
        Decimal("1.2"),
        NEW,
    )
    assert by_name["compute", "gpu", "here", "reserved_1y"][12:] == IN_FORCE[1][12:]  # the machine is as it was described
    assert all(each in changes.facts for each in IN_FORCE[2:])
    assert (changes.confirmed, changes.kept, len(changes.added), changes.doubts) == (1, 3, 1, [])


def test_nothing_becomes_free_by_a_row_of_zero():
    changes = changed(found(price="0"), found("gpu", "3"))
    assert changes.passed == {"price is not above 0": 1}
    assert [each.sku for each in changes.gone] == ["small"]
    assert all(each.price > 0 for each in changes.facts)
    assert not any("0 became" in doubt for doubt in changes.doubts)


def test_a_row_of_zero_beside_a_price_is_passed_over():
    changes = changed(found(price="0"), found(price="1.1"), found(price="0"), found("gpu", "3"))
    assert [(old.price, new.price) for old, new in changes.moved] == [(Decimal(1), Decimal("1.1"))]
    assert not changes.doubts


def test_of_several_prices_of_one_thing_none_is_taken():
    changes = changed(found(price="1.1"), found(price="1.3"), found("gpu", "3"), found("gpu", "3.0"))
    assert changes.contradictory == ["small, here, on_demand: 1.1 and 1.3"]
    assert IN_FORCE[0] in changes.facts
    assert not changes.gone
    assert changes.confirmed == 1  # twice the same is no contradiction


def test_a_spot_price_that_stays_above_the_new_price_on_demand_is_named():
    assert changed(found(), found("gpu", "3")).overtaken == []
    changes = changed(found(price="0.4"), found("gpu", "3"))
    assert changes.overtaken == ["small, here, spot: 0.4 of 2025-03-02 is not below the 0.4 on demand"]
    assert not changes.doubts


def test_machines_that_the_list_does_not_describe_are_named_and_left_out():
    changes = changed(found(), found("gpu", "3"), found("huge", "9"))
    assert changes.unknown == ["huge"]
    assert not any(each.sku == "huge" for each in changes.facts)


# ---------------------------------------------------------------- all that is no machine


GIB = {"service": "storage", "unit": "gib"}
TIERED = [
    fact()._replace(service="storage", sku="disk", unit="gib", price=Decimal("0.12")),
    fact()._replace(service="storage", sku="disk", unit="gib", price=Decimal("0.10"), tier_from=Decimal(1024)),
    fact()._replace(service="storage", sku="disk", unit="gib", price=Decimal(9), gpu="T4"),
]


def tiers(*rows, **more):
    return changed(
        *(found("disk")._replace(**{**GIB, **row}) for row in rows), in_force=TIERED, speaks_of=lambda each: not each.gpu, **more
    )


def test_tiers_of_any_service_are_compared_one_by_one():
    changes = tiers({"price": Decimal("0.11")}, {"price": Decimal("0.10"), "tier_from": Decimal(1024)})
    assert [(old.price, new.price, new.tier_from, new.unit) for old, new in changes.moved] == [
        (Decimal("0.12"), Decimal("0.11"), Decimal(0), "gib")
    ]
    assert (changes.confirmed, changes.kept, changes.doubts) == (1, 1, [])
    assert len(changes.facts) == 3
    assert changes.to_json()["moved"][0]["service"] == "storage"


def test_a_tier_that_is_gone_looks_wrong():
    assert tiers({"price": Decimal("0.12")}).doubts == [
        "storage disk, here, on_demand, from 1024: 0.10 is in force, and the source has no price"
    ]


def test_of_a_thing_with_two_prices_in_one_tier_no_tier_is_taken():
    higher = {"price": Decimal("0.09"), "tier_from": Decimal(1024)}
    changes = tiers({"price": Decimal("0.11")}, higher, {**higher, "price": Decimal("0.08")})
    assert changes.contradictory == ["storage disk, here, on_demand, from 1024: 0.08 and 0.09"]
    assert sorted(changes.facts) == sorted(TIERED)
    assert not changes.moved


@pytest.mark.parametrize(("change", "reason"), [({"currency": "EUR"}, "currency"), ({"unit": "hour"}, "unit")])
def test_a_price_in_another_currency_or_unit_is_none(change, reason):
    changes = tiers({"price": Decimal("0.11"), **change})
    assert changes.passed == {f"in another {reason} than the list's": 1}
    assert (len(changes.gone), changes.moved, changes.added) == (2, [], [])


def test_what_the_source_leaves_stays_and_is_told_apart_from_what_is_gone():
    changes = changed(found(price="1.1"), left={IN_FORCE[1]: "its SKU is not known"})
    assert IN_FORCE[1] in changes.facts
    assert (changes.doubts, changes.left, changes.kept) == ([], {"its SKU is not known": 1}, 4)


@given(st.lists(st.tuples(st.sampled_from(["small", "gpu", "huge"]), st.decimals("0", "20", places=2), st.sampled_from(["here", "there"]))))
def test_whatever_is_found_no_price_vanishes_without_a_word_and_none_is_free(rows):
    changes = changed(*(found(sku, str(price), region) for sku, price, region in rows), regions=("here", "there"))
    kept = {(each.service, each.sku, each.region, each.purchase) for each in changes.facts}
    named = {(each.service, each.sku, each.region, each.purchase) for each in changes.gone}
    assert kept | named >= {(each.service, each.sku, each.region, each.purchase) for each in IN_FORCE}
    assert not kept & named
    assert len(kept) == len(changes.facts)
    assert all(each.price > 0 for each in changes.facts)
    assert len(changes.gone) <= len(changes.doubts)


# ---------------------------------------------------------------- what looks wrong


@pytest.mark.parametrize(("price", "wrong"), [("5", False), ("5.01", True), ("0.2", False), ("0.19", True), ("1", False)])
def test_a_price_that_moves_more_than_five_times_looks_wrong(price, wrong):
    changes = changed(found(price=price), found("gpu", "3"))
    assert bool(changes.doubts) is wrong
    assert is_leap(Decimal(1), Decimal(price)) is wrong


def test_a_price_that_is_gone_looks_wrong():
    changes = changed(found())
    assert changes.doubts == ["gpu, here, on_demand: 3 is in force, and the source has no price"]


def test_another_price_of_an_older_day_looks_wrong_and_the_same_changes_nothing():
    older = date(2024, 1, 1)
    assert "the source's of 2024-01-01" in changed(found(price="1.1", as_of=older), found("gpu", "3")).doubts[0]
    same = changed(found(as_of=older), found("gpu", "3"))
    assert not same.doubts
    assert IN_FORCE[0] in same.facts


# ---------------------------------------------------------------- writing


class Source:
    needs = ""

    def __init__(self, *rows, lacking=None, left=()):
        self.rows, self.lacking, self.left = rows, lacking, left

    def lacks(self, access):
        return self.lacking

    def speaks_of(self, each):
        return each.service == "compute" and each.purchase == "on_demand"

    def read(self, request):
        request.leave([each for each in request.in_force if each.region in self.left], "not told")
        for region in request.each():
            yield from (row for row in self.rows if row.region == region)


@pytest.fixture
def prices(tmp_path, monkeypatch):
    folder = tmp_path / "prices"
    folder.mkdir()
    (folder / "tiny.json").write_text(pack(IN_FORCE, "2025-03-02"))
    monkeypatch.setenv(catalogue.FOLDER, str(folder))
    catalogue.forget()
    yield folder
    catalogue.forget()


def test_the_list_is_replaced_and_read_anew_by_who_read_it_before(prices):
    assert catalogue.default().list("tiny").find("compute", "small", "here").price == 1
    made = refresh("tiny", Source(found(price="1.2"), found("gpu", "3")), regions=["here"])
    assert made.path == prices / "tiny.json"
    assert catalogue.default().list("tiny").find("compute", "small", "here").price == Decimal("1.2")
    assert catalogue.default().list("tiny").version == "2026-11-20"
    before = made.path.read_bytes()
    again = refresh("tiny", Source(found(price="1.2"), found("gpu", "3")), regions=["here"])
    assert (again.changes.confirmed, again.changes.moved, before) == (2, [], made.path.read_bytes())


def test_what_looks_wrong_is_written_only_when_forced(prices):
    before = (prices / "tiny.json").read_bytes()
    source = Source(found(price="6"))
    refused = refresh("tiny", source, regions=["here"])
    assert (refused.path, len(refused.changes.doubts), before) == (None, 2, (prices / "tiny.json").read_bytes())
    assert refresh("tiny", source, regions=["here"], force=True).path
    listed = catalogue.default().list("tiny")
    assert listed.find("compute", "small", "here").price == 6
    assert listed.find("compute", "gpu", "here") is None


@pytest.mark.parametrize("regions", [["here", "there"], []], ids=["named", "those in force"])
def test_a_source_that_breaks_midway_changes_nothing(prices, regions):
    before = (prices / "tiny.json").read_bytes()
    with pytest.raises(ProviderError, match="no price in there"):
        refresh("tiny", Source(found(price="1.2"), found("gpu", "3")), regions=regions)
    assert (prices / "tiny.json").read_bytes() == before


def test_a_region_that_the_source_leaves_stays_unless_it_was_named(prices):
    source = Source(found(price="1.2"), found("gpu", "3"), left=["there"])
    made = refresh("tiny", source)
    assert (made.changes.doubts, made.changes.left, len(made.changes.moved)) == ([], {"not told": 1}, 1)
    with pytest.raises(ProviderError, match="no price in there") as error:
        refresh("tiny", source, regions=["there"])
    assert error.value.hint == "not told"


def test_a_source_that_lacks_something_is_not_asked(prices):
    with pytest.raises(ConfigError, match="KEY is not set"):
        refresh("tiny", Source(found(), lacking=ConfigError("KEY is not set")), regions=["here"])


def test_two_refreshes_at_once_are_refused(prices):
    with (prices / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConflictError, match="already"):
            refresh("tiny", Source(found()), regions=["here"])


def test_a_write_that_fails_leaves_the_list_as_it_was(prices, monkeypatch):
    before = (prices / "tiny.json").read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        refresh("tiny", Source(found(price="1.2"), found("gpu", "3")), regions=["here"])
    assert (prices / "tiny.json").read_bytes() == before


# ---------------------------------------------------------------- the way there


@pytest.fixture
def server():
    with replaying() as made:
        yield made


def patient(tmp_path):
    slept = []
    return Web(tmp_path, sleep=slept.append), slept


CONTENT = os.urandom(3_000_000)


def test_a_file_that_broke_off_is_continued_where_it_ended(server, tmp_path):
    cuts = iter([1_000_000, 700_000, None])
    server.document = lambda path, headers: served(CONTENT, '"one"', headers, next(cuts))
    with patient(tmp_path)[0].file(f"{server.url}/offer.csv") as path:
        assert path.read_bytes() == CONTENT
    assert [headers.get("range") for _, headers in server.asked] == [None, "bytes=1000000-", "bytes=1700000-"]
    assert not list(tmp_path.iterdir())


def test_a_later_refresh_continues_what_an_earlier_one_left(server, tmp_path):
    server.document = lambda path, headers: served(CONTENT, '"one"', headers, 100_000)
    with pytest.raises(UnavailableError, match="broke off"), patient(tmp_path)[0].file(f"{server.url}/offer.csv"):
        pass
    got = len(server.asked) * 100_000
    assert sum(path.stat().st_size for path in tmp_path.glob("*.part")) == got
    server.asked.clear()
    server.document = lambda path, headers: served(CONTENT, '"one"', headers)
    with patient(tmp_path)[0].file(f"{server.url}/offer.csv") as path:
        assert path.read_bytes() == CONTENT
    assert [headers["range"] for _, headers in server.asked] == [f"bytes={got}-"]


@pytest.mark.parametrize("tag", ['"two"', 'W/"weak"', ""], ids=["it changed", "weak tag", "no tag"])
def test_a_file_that_may_be_another_is_fetched_from_the_start(server, tmp_path, tag):
    other = CONTENT[::-1]
    answers = iter([served(CONTENT, tag if tag != '"two"' else '"one"', {}, 500_000), served(other, tag, {})])
    server.document = lambda path, headers: next(answers)
    with patient(tmp_path)[0].file(f"{server.url}/offer.csv") as path:
        assert path.read_bytes() == other
    assert [bool(headers.get("range")) for _, headers in server.asked] == [False, tag == '"two"']


def test_what_nobody_went_on_with_for_a_week_is_removed(server, tmp_path):
    server.document = lambda path, headers: served(CONTENT, '"one"', headers)
    for age in (6, 8):
        for name in (f"{age}.part", f"{age}.tag"):
            (tmp_path / name).write_text("some")
            os.utime(tmp_path / name, (then := (datetime.now(UTC) - timedelta(days=age)).timestamp(), then))
    with patient(tmp_path)[0].file(f"{server.url}/offer.csv"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"6.part", "6.tag"}


def test_a_file_that_was_whole_when_a_refresh_was_killed_is_not_fetched_again(server, tmp_path):
    server.document = lambda path, headers: served(CONTENT, '"one"', headers)
    killed = patient(tmp_path)[0].file(f"{server.url}/offer.csv")
    left = {path: path.read_bytes() for path in (killed.__enter__(), *tmp_path.iterdir())}
    killed.__exit__(None, None, None)
    for path, content in left.items():
        path.write_bytes(content)
    with patient(tmp_path)[0].file(f"{server.url}/offer.csv") as path:
        assert path.read_bytes() == CONTENT
    assert [headers.get("range") for _, headers in server.asked] == [None, f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("header", ["7", "date"])
def test_who_asks_to_wait_is_waited_for(server, tmp_path, header):
    after = format_datetime(datetime.now(UTC) + timedelta(seconds=7), usegmt=True) if header == "date" else header
    answers = iter([Answer(status=429, headers={"Retry-After": after}), Answer(b'{"price": 0.10}')])
    server.document = lambda path, headers: next(answers)
    web, slept = patient(tmp_path)
    assert web.json(f"{server.url}/prices") == {"price": Decimal("0.10")}
    assert 5 < slept[0] <= 7


@pytest.mark.parametrize(
    ("answer", "kind", "requests"),
    [
        (Answer(status=429), ThrottledError, 6),
        (Answer(status=500), UnavailableError, 6),
        (Answer(status=503, headers={"Retry-After": "3600"}), DeadlineError, 1),
        (Answer(status=404), NotFoundError, 1),
        (Answer(status=400), InvalidRequestError, 1),
        (Answer(b"[1, 2", cut=2), UnavailableError, 6),
    ],
    ids=["throttled", "down", "an hour", "no such thing", "malformed", "cut"],
)
def test_patience_has_an_end(server, tmp_path, answer, kind, requests):
    server.document = lambda path, headers: answer
    with pytest.raises(kind):
        patient(tmp_path)[0].json(f"{server.url}/prices")
    assert len(server.asked) == requests


def test_a_secret_header_is_sent_to_nobody_else(server, tmp_path):
    with replaying() as other:
        other.document = lambda path, headers: Answer(b"{}")
        server.document = lambda path, headers: Answer(status=302, headers={"Location": f"{other.url}/elsewhere"})
        assert patient(tmp_path)[0].json(f"{server.url}/prices", {"X-Key": "secret"}) == {}
    assert [headers.get("x-key") for _, headers in server.asked] == ["secret"]
    assert [(path, "x-key" in headers) for path, headers in other.asked] == [("/elsewhere", False)]


def test_only_the_web_is_asked(tmp_path):
    (tmp_path / "secret").write_text("{}")
    with pytest.raises(InvalidRequestError, match="https"):
        patient(tmp_path)[0].json((tmp_path / "secret").as_uri())


# ---------------------------------------------------------------- the command


ROW = {
    "currencyCode": "USD", "tierMinimumUnits": 0.0, "armRegionName": "eastus", "effectiveStartDate": "2020-08-01T00:00:00Z",
    "productName": "Virtual Machines", "serviceName": "Virtual Machines", "unitOfMeasure": "1 Hour", "type": "Consumption",
    "isPrimaryMeterRegion": True,
}  # fmt: skip
SUFFIX = {"on_demand": "", "low_priority": " Low Priority"}


@pytest.fixture
def mlport(command, tmp_path, monkeypatch, server):
    """`mlport cost ...`; the server has Azure's prices as they are in force, but for those of `other`."""
    monkeypatch.setenv(catalogue.FOLDER, str(tmp_path / "prices"))
    monkeypatch.chdir(tmp_path)
    catalogue.forget()
    in_force = [each for each in catalogue.default().list("azure").of("compute", "eastus") if each.purchase in SUFFIX]
    other = {}

    def document(path, headers):
        items = [
            {
                **ROW,
                "armSkuName": each.sku,
                "skuName": each.sku + SUFFIX[each.purchase],
                "retailPrice": float(other.get(each.sku, each.price)),
            }
            for each in in_force
            if other.get(each.sku, 1) is not None
        ]
        return Answer(json.dumps({"Items": items, "NextPageLink": None, "Count": len(items)}).encode())

    server.document = document
    monkeypatch.setattr(price_source, "SOURCE", price_source.AzureRetailPrices(server.url))

    def call(*args, **prices):
        other.clear()
        other.update(prices)
        return command(*args)

    yield call
    catalogue.forget()


ASK = ("refresh", "azure", "--region", "eastus")
SKU = "Standard_D16as_v5"


def listed(mlport, region="eastus"):
    status, out, _ = mlport("prices", "azure", "--sku", SKU, "--region", region, "--purchase", "on_demand", "--json")
    assert status == 0
    (row,) = [row for row in json.loads(out) if row["sku"] == SKU]
    return row


def test_refreshed_prices_are_those_that_are_looked_up(mlport, tmp_path):
    before, elsewhere = listed(mlport), listed(mlport, "westeurope")
    status, out, _ = mlport(*ASK, "--dry-run", "--json", **{SKU: 0.7})
    (told,) = json.loads(out)
    assert (status, told["written"]) == (0, None)
    assert [(row["before"], row["after"]) for row in told["moved"] if row["purchase"] == "on_demand"] == [(0.688, 0.7)]
    assert listed(mlport) == before
    status, out, _ = mlport(*ASK, **{SKU: 0.7})
    assert status == 0
    assert str(tmp_path / "prices" / "azure.json") in out
    after = listed(mlport)
    assert (after["price"], after["as_of"]) == (0.7, datetime.now(UTC).date().isoformat())
    assert "Azure Retail Prices API" in after["source"]
    assert listed(mlport, "westeurope") == elsewhere


@pytest.mark.parametrize("price", [6.88, None], ids=["ten times", "gone"])
def test_a_list_that_looks_wrong_is_refused_with_what_it_would_change(mlport, price):
    before = listed(mlport)
    status, out, err = mlport(*ASK, **{SKU: price})
    assert status == 3
    assert "--force takes them" in out
    assert f"looks wrong: {SKU}, eastus, on_demand" in err
    assert listed(mlport) == before
    status, out, _ = mlport(*ASK, "--json", **{SKU: price})
    (told,) = json.loads(out)
    assert (status, told["written"], len(told["doubts"]) > 0) == (3, None, True)
    assert mlport(*ASK, "--force", **{SKU: price})[0] == 0


def test_a_list_without_a_source_is_told_with_the_nearest(mlport):
    status, _, err = mlport("refresh", "azur")
    assert status == SpecError.exit_code
    assert "did you mean 'azure'?" in err
