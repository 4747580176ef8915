"""Price facts as text and as the snapshot: nothing is lost on the way, what is shipped is what the text says, bad rows are named."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlport.costs.catalogue import Catalogue, PriceList
from mlport.costs.facts import COLUMNS, SNAPSHOT, Fact, Packed, build, pack, read, unpack, write
from mlport.errors import SpecError

FACTS = Path(__file__).parents[3] / "facts" / "prices"
ROW = "aws,compute,m5.large,us-east-1,on_demand,hour,0,0.096,USD,2026-07-20,a list,,2,8,,,"
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=8)
AMOUNTS = st.decimals(min_value=0, max_value=10**6, places=9)
SOME = st.builds(
    Fact,
    provider=st.just("aws"),
    service=WORDS,
    sku=WORDS,
    region=WORDS,
    purchase=WORDS,
    unit=WORDS,
    tier_from=AMOUNTS,
    price=AMOUNTS,
    currency=WORDS,
    as_of=st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    source=WORDS,
    derived_from=WORDS,
    vcpus=st.integers(0, 512).map(float),
    memory_gib=st.integers(0, 4096).map(lambda quarters: quarters / 4),
    gpu=WORDS,
    gpus=st.integers(0, 16),
    gpu_memory_gib=st.integers(0, 192).map(float),
)


def test_the_snapshot_is_made_of_the_facts(tmp_path: Path) -> None:
    made = build(FACTS, tmp_path)
    assert {path.name for path in made} == {path.name for path in SNAPSHOT.iterdir()}
    for path in made:
        assert path.read_bytes() == (SNAPSHOT / path.name).read_bytes(), (
            f"`python -m mlport.costs.facts facts/prices` makes {path.name} anew"
        )


def test_every_fact_has_a_source_and_a_date_that_has_been() -> None:
    for path in sorted(FACTS.glob("*.csv")):
        for fact in read(path):
            assert fact.source, fact
            assert date(2015, 1, 1) < fact.as_of < date(2027, 1, 1), fact


@given(st.lists(SOME, min_size=1, max_size=5))
def test_packed_and_unpacked_is_the_same(facts: list[Fact]) -> None:
    _, found = unpack(pack(facts, "1"))
    assert sorted(found, key=repr) == sorted(facts, key=repr)


@pytest.mark.parametrize("path", sorted(SNAPSHOT.iterdir()), ids=lambda path: path.stem)
def test_a_list_whose_facts_are_made_when_asked_for_answers_as_one_that_has_them_all(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    version, facts = unpack(text)
    whole, lazy = PriceList(version, facts), PriceList(version, Packed(text))
    assert lazy.of("compute", "mars-east-1") == whole.of("compute", "mars-east-1") == ()
    assert (lazy.regions, lazy.machine_regions) == (whole.regions, whole.machine_regions)
    for fact in facts:
        thing = fact.service, fact.sku, fact.region, fact.purchase, fact.gpu
        assert fact in lazy.of(fact.service, fact.region)
        assert lazy.tiers(*thing) == whole.tiers(*thing)
        assert fact in lazy.tiers(*thing)
    assert lazy.facts == whole.facts == tuple(facts)


def test_machines_that_are_excluded_from_work_are_in_the_list() -> None:
    prices = Catalogue().list("vertex")
    machines = {fact.sku for fact in prices.facts if fact.service == "compute"}
    excluded = {fact.sku for fact in prices.of("exclusion", "*")}
    assert excluded < machines
    for region in prices.machine_regions:
        all_of_them = {fact.sku for fact in prices.of("compute", region)}
        assert {fact.sku for fact in prices.machines(region, "training")} == all_of_them - excluded
        assert {fact.sku for fact in prices.machines(region)} == all_of_them


def test_written_and_read_is_the_same(tmp_path: Path) -> None:
    facts = list(read(FACTS / "vertex.csv"))
    write(tmp_path / "vertex.csv", facts)
    assert list(read(tmp_path / "vertex.csv")) == facts


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (ROW.replace("0.096", "cheap"), "line 2: price: 'cheap'"),
        (ROW.replace("0.096", "-1"), "line 2: price: -1 must be zero or more"),
        (ROW.replace("0.096", "NaN"), "line 2: price: NaN"),
        (ROW.replace("2026-07-20", "20 July"), "line 2: as_of: '20 July' .*such as 2026-11-23"),
        (f"{ROW},more", "line 2: has more columns"),
        (ROW.rpartition(",")[0], "line 2: gpu_memory_gib is missing"),
        (f"{ROW}\n{ROW}", "two prices of m5.large in us-east-1"),
        (ROW.replace("aws", "gcp"), "holds a price of 'gcp'"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, said: str) -> None:
    (tmp_path / "aws.csv").write_text(f"{','.join(COLUMNS)}\n{row}\n")
    with pytest.raises(SpecError, match=said):
        build(tmp_path, tmp_path / "made")


def test_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "aws.csv").write_text("sku,price\nm5.large,1\n")
    with pytest.raises(SpecError, match="line 1: the columns must be"):
        list(read(tmp_path / "aws.csv"))


@pytest.mark.parametrize(("day", "wins"), [("2030-01-01", True), ("2001-01-01", False)])
def test_the_newer_of_two_lists_is_in_force(tmp_path: Path, day: str, wins: bool) -> None:
    (tmp_path / "aws.csv").write_text(f"{','.join(COLUMNS)}\n{ROW.replace('2026-07-20', day)}\n")
    build(tmp_path, tmp_path / "refreshed")
    assert (len(Catalogue(tmp_path / "refreshed").list("aws").facts) == 1) is wins


def test_prices_keep_all_their_digits(tmp_path: Path) -> None:
    (tmp_path / "aws.csv").write_text(f"{','.join(COLUMNS)}\n{ROW.replace('0.096', '0.0000166667000')}\n")
    (made,) = build(tmp_path, tmp_path / "made")
    assert unpack(made.read_text())[1][0].price == Decimal("0.0000166667")
