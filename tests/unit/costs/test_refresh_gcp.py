"""Google's Cloud Billing Catalog: pages and SKUs as its discovery document (cloudbilling v1) describes them, with the prices in force.

The words of SKUs are those of Cyclenerd/google-cloud-pricing-cost-calculator, build/mapping.csv, and of a bill of Vertex AI.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import googleapiclient.discovery_cache
import pytest
from aids.replaying import Answer, replaying
from hypothesis import given
from hypothesis import strategies as st

from mlport.costs import catalogue
from mlport.costs.refreshing.refresh import refresh
from mlport.costs.refreshing.sources import Access, Request
from mlport.costs.refreshing.web import Web
from mlport.errors import ConfigError, InvalidRequestError, NotFoundError, PermissionDeniedError, ProviderError, UnavailableError
from mlport_vertex.price_skus import CLOUD_STORAGE, COMPUTE_ENGINE, VERTEX_AI
from mlport_vertex.price_source import COMPUTE, HEADER, VARIABLE, VERTEX

KEY = "AIzaSyTheKeyThatNobodyMaySee0123456789x"
ACCESS = Access(environment={VARIABLE: KEY})
NOW = (datetime.now(UTC) - timedelta(hours=3)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
AMERICAS = ["us-central1", "us-east1", "us-west1"]
HOUR, GIB_HOUR, GIB_MONTH = "h", "GiBy.h", "GiBy.mo"


def sku(description, price, unit=HOUR, *, usage="OnDemand", group="CPU", regions=AMERICAS, **more):
    """A SKU; `price` is a text, or texts by the quantity that they begin with."""
    tiers = price if isinstance(price, dict) else {0: price}
    return {
        "name": f"services/6F81-5844-456A/skus/{description}",
        "skuId": re.sub(r"[^A-Z0-9]", "", description.upper())[-12:],
        "description": description,
        "category": {
            "serviceDisplayName": "Compute Engine",
            "resourceFamily": "Compute",
            "resourceGroup": group,
            "usageType": usage,
        },
        "serviceRegions": regions,
        "pricingInfo": [priced(tiers, unit)],
        "serviceProviderName": "Google",
        "geoTaxonomy": {"type": "MULTI_REGIONAL", "regions": regions},
        **more,
    }


def priced(tiers, unit=HOUR, since=NOW, currency="USD"):
    rates = []
    for start, text in tiers.items():
        units, _, fraction = text.partition(".")
        rates.append(
            {
                "startUsageAmount": start,
                "unitPrice": {"currencyCode": currency, "units": units, "nanos": int((fraction or "0").ljust(9, "0"))},
            }
        )
    return {
        "effectiveTime": since,
        "summary": "",
        "pricingExpression": {
            "usageUnit": unit,
            "usageUnitDescription": "hour",
            "baseUnit": "s",
            "baseUnitDescription": "second",
            "baseUnitConversionFactor": 3600,
            "displayQuantity": 1,
            "tieredRates": rates,
        },
        "currencyConversionRate": 1,
    }


def parts(names, core, ram, *, usage="OnDemand", tail="running in Americas", group="CPU"):
    first, second = names
    return [
        sku(f"{first} {tail}", core, usage=usage, group=group),
        sku(f"{second} {tail}", ram, GIB_HOUR, usage=usage, group="N1Standard" if group == "N1Standard" else "RAM"),
    ]


ONE_YEAR = {"usage": "Commit1Yr", "tail": "in Americas for 1 Year"}
A2 = [  # what a2-highgpu is composed of: the sums are the prices in force, to 0.000001
    *parts(("A2 Instance Core", "A2 Instance Ram"), "0.031611", "0.004237"),
    sku("Nvidia Tesla A100 GPU running in Americas", "2.933908", group="GPU"),
    *parts(("Commitment v1: A2 Cpu", "Commitment v1: A2 Ram"), "0.019915", "0.002669", **ONE_YEAR),
    sku("Commitment v1: Nvidia Tesla A100 GPU running in Americas for 1 Year", "1.848362", usage="Commit1Yr", group="GPU"),
]
N1 = parts(("N1 Predefined Instance Core", "N1 Predefined Instance Ram"), "0.031611", "0.004237", group="N1Standard")
T4 = sku("Nvidia Tesla T4 GPU running in Americas", "0.35", group="GPU")
TRAPS = {  # words that look like those of N1's cores, T4 or disks, each at 9
    "custom": sku("Custom Instance Core running in Americas", "9"),
    "extended memory": sku("N1 Custom Extended Instance Ram running in Americas", "9", GIB_HOUR),
    "sole tenancy": sku("Sole Tenancy Instance Core running in Americas", "9"),
    "another family": sku("N1 Predefined Instance Core Premium running in Americas", "9"),
    "flex start": sku("DWS Defined Duration N1 Predefined Instance Core running in Americas", "9"),
    "reserved A3": sku("Reserved A3 Instance Core in Americas", "9", usage="Commit1Yr"),
    "said to be spot": sku("N1 Predefined Instance Core running in Americas", "9", usage="Preemptible"),
    "another region": sku("N1 Predefined Instance Core running in EMEA", "9", regions=["europe-west1"]),
    "no region": sku("N1 Predefined Instance Core running in Americas", "9", regions=None),
    "zero": sku("N1 Predefined Instance Core running in Americas", "0"),
    "by the month": sku("N1 Predefined Instance Core running in Americas", "9", GIB_MONTH),
    "euro": sku("N1 Predefined Instance Core running in Americas", "9", pricingInfo=[priced({0: "9"}, currency="EUR")]),
    "not yet": sku("N1 Predefined Instance Core running in Americas", "9", pricingInfo=[priced({0: "9"}, since="2999-01-01T00:00:00Z")]),
    "no date": sku("N1 Predefined Instance Core running in Americas", "9", pricingInfo=[priced({0: "9"}, since=None)]),
    "no price": sku("N1 Predefined Instance Core running in Americas", "9", pricingInfo=[]),
    "half a price": sku("N1 Predefined Instance Core running in Americas", "9", pricingInfo=[{**priced({}), "pricingExpression": {}}]),
    "spot T4 said to be on demand": sku("Nvidia Tesla T4 GPU attached to Spot Preemptible VMs running in Americas", "9"),
    "no category": {"description": "N1 Predefined Instance Core running in Americas"},
}


@pytest.fixture
def google():
    with replaying() as server:
        yield server


def answering(*skus, service=COMPUTE_ENGINE, page=1000):
    """The catalogue: pages of so many SKUs for one service, and none for others."""

    def document(path, headers):
        asked = urlsplit(path)
        query = parse_qs(asked.query)
        assert query["currencyCode"] == ["USD"]
        if headers.get(HEADER.lower()) != KEY:
            return Answer(b'{"error": {"code": 400, "status": "INVALID_ARGUMENT"}}', 400)
        here = skus if asked.path == f"/v1/services/{service}/skus" else ()
        start = int(query.get("pageToken", ["at0"])[0].removeprefix("at"))
        more = {"nextPageToken": f"at{start + page}"} if start + page < len(here) else {"nextPageToken": ""}
        return Answer(json.dumps({"skus": here[start : start + page], **more}).encode())

    return document


SHIPPED = catalogue.Catalogue()


def in_force(name, *skus):
    return [each for each in SHIPPED.list(name).facts if each.sku in skus]


def read(source, server, tmp_path, facts, regions=("us-central1",), access=ACCESS):
    request = Request(regions, facts, Web(tmp_path, sleep=lambda seconds: None), access)
    return list(source.at(server.url).read(request)), request


# ---------------------------------------------------------------- what a machine costs


def test_a_machine_is_the_sum_of_its_parts_as_it_was_when_the_list_was_made(google, tmp_path):
    larger = sku("Nvidia Tesla A100 80GB GPU running in Americas", "9", group="GPU")
    google.document = answering(larger, *A2, *N1, T4)
    facts = in_force("gcp", "a2-highgpu-1g", "a2-highgpu-8g", "n1-highmem-16", "n1-standard-8+1xT4")
    found, _ = read(COMPUTE, google, tmp_path, facts)
    before = {(each.sku, each.purchase): each.price for each in facts if each.region == "us-central1"}
    now = {(each.sku, each.purchase): each for each in found}
    assert {key for key in before if key[1] != "spot" and key[1] != "reserved_3y"} == set(now)
    assert all(abs(each.price - before[key]) <= Decimal("0.00001") for key, each in now.items())
    one = now["a2-highgpu-1g", "on_demand"]
    assert one.derived_from == "12 x 0.031611 + 85 x 0.004237 + 1 x 2.933908"
    assert one.price == Decimal("3.673385")
    assert one.as_of == datetime.fromisoformat(NOW).date()
    assert one.source.count(",") == 3  # the catalogue, and three SKUs


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
def test_a_sku_with_other_words_is_no_part(google, tmp_path, trap):
    google.document = answering(trap, *N1, trap, T4)
    found, request = read(COMPUTE, google, tmp_path, in_force("gcp", "n1-standard-4+1xT4"))
    assert {each.price for each in found} == {Decimal("0.539999")}
    assert request.passed.total() == 2  # it comes twice


def test_local_disks_that_come_with_a_machine_are_in_its_price_on_compute_engine_and_not_on_vertex(google, tmp_path):
    gpu, names = "Nvidia H100 80GB GPU", ("A3 Instance Core", "A3 Instance Ram")
    google.document = answering(
        *parts(names, "0.0254980", "0.0022203"),
        sku(f"{gpu} running in Americas", "9.796550", group="GPU"),
        sku("SSD backed Local Storage", "0.08", GIB_MONTH, group="LocalSSD"),
    )
    ((machine, disk), _) = read(COMPUTE, google, tmp_path, in_force("gcp", "a3-highgpu-8g", "local-ssd"))
    assert machine.derived_from == "208 x 0.025498 + 1872 x 0.0022203 + 8 x 9.79655 + 6000 x 0.08 / 730 h"
    assert abs(machine.price - Decimal("88.49")) < Decimal("0.001")
    assert (disk.service, disk.unit, disk.price, disk.derived_from) == ("storage", "gib_month", Decimal("0.08"), "")
    # Vertex AI: the SKUs of a bill of August 2025, by which the list in force was made
    words = "Vertex AI: Training/Pipelines on"
    google.document = answering(
        sku(f"{words} NVIDIA H100 80GB in Iowa", "11.2660332", regions=["us-central1"]),
        sku(f"{words} A3 Instance Core in Iowa", "0.0293227", regions=["us-central1"]),
        sku(f"{words} A3 Instance RAM in Iowa", "0.0025534", GIB_HOUR, regions=["us-central1"]),
        sku(f"{words} SSD backed PD Capacity", "0.1955", GIB_MONTH),
        sku("Vertex AI: Training/Pipelines Management fee on A3 Instance Core in Iowa", "0.0038247", regions=["us-central1"]),
        sku("Vertex AI: Online/Batch Prediction A3 Predefined Instance Core running in Iowa", "9", regions=["us-central1"]),
        service=VERTEX_AI,
    )
    found, request = read(
        VERTEX, google, tmp_path, in_force("vertex", "a3-highgpu-8g", "a3-highgpu-core", "a3-highgpu-gpu", "training-pd-ssd")
    )
    assert {(each.service, each.sku): each.price for each in found} == {
        ("compute", "a3-highgpu-8g"): Decimal("101.007352"),
        ("component", "a3-highgpu-core"): Decimal("0.0293227"),
        ("component", "a3-highgpu-gpu"): Decimal("11.2660332"),
        ("storage", "training-pd-ssd"): Decimal("0.1955"),
    }
    assert request.passed == {"of another thing": 2}


def test_ways_to_pay_are_told_apart(google, tmp_path):
    names = ("N1 Predefined Instance Core", "N1 Predefined Instance Ram")
    google.document = answering(
        *N1,
        *parts([f"Spot Preemptible {name}" for name in names], "0.0066", "0.0009", usage="Preemptible"),
        *parts(("Commitment v1: Cpu", "Commitment v1: Ram"), "0.019915", "0.002669", **ONE_YEAR),
        *parts(("Commitment v1: Cpu", "Commitment v1: Ram"), "0.014225", "0.001907", usage="Commit3Yr", tail="in Americas for 3 Years"),
    )
    found, _ = read(COMPUTE, google, tmp_path, in_force("gcp", "n1-standard-4"))
    assert {each.purchase: each.price for each in found} == {
        "on_demand": Decimal("0.189999"),
        "spot": Decimal("0.0399"),
        "reserved_1y": Decimal("0.119695"),
        "reserved_3y": Decimal("0.085505"),
    }


def test_a_machine_is_priced_only_where_the_list_says_that_it_is_offered(google, tmp_path):
    google.document = answering(*({**each, "serviceRegions": ["us-central1", "us-east4"]} for each in [*A2, *N1]))
    found, _ = read(COMPUTE, google, tmp_path, in_force("gcp", "a2-highgpu-1g", "n1-standard-4"), ["us-central1", "us-east4"])
    assert {(each.sku, each.region) for each in found} == {
        ("a2-highgpu-1g", "us-central1"),
        ("n1-standard-4", "us-central1"),
        ("n1-standard-4", "us-east4"),
    }


def test_a_sum_is_as_old_as_the_oldest_of_its_parts(google, tmp_path):
    core, ram = N1
    google.document = answering(core, {**ram, "pricingInfo": [priced({0: "0.004237"}, GIB_HOUR, "2025-02-03T04:05:06Z")]})
    ((found,), _) = read(COMPUTE, google, tmp_path, in_force("gcp", "n1-standard-4"))
    assert found.as_of.isoformat() == "2025-02-03"


def test_c2_is_written_in_two_ways(google, tmp_path):
    here, there = {"regions": ["us-central1"]}, {"regions": ["europe-west4"]}
    google.document = answering(
        sku("Compute optimized Core running in Americas", "0.03398", **here),
        sku("Compute optimized Ram running in Americas", "0.00455", GIB_HOUR, **here),
        sku("Compute optimized Instance Core running in Netherlands", "0.04", **there),
        sku("Compute optimized Instance Ram running in Netherlands", "0.005", GIB_HOUR, **there),
    )
    found, _ = read(COMPUTE, google, tmp_path, in_force("gcp", "c2-standard-4"), ["us-central1", "europe-west4"])
    assert {each.region: each.price for each in found} == {"us-central1": Decimal("0.20872"), "europe-west4": Decimal("0.24")}


def test_disks_and_traffic_by_their_tiers_and_what_is_free_at_first_is_no_tier(google, tmp_path):
    egress = sku(
        "Download Worldwide Destinations (excluding Asia & Australia)",
        {0: "0.12", 1024: "0.11", 10240: "0.07"},
        "GiBy",
        regions=["global"],
        group="PremiumInternetEgress",
    )
    standard = sku("Standard Storage US Regional", {0: "0", 5: "0.02"}, GIB_MONTH, group="RegionalStorage")
    dual = sku("Standard Storage US Dual-region", "9", GIB_MONTH, group="RegionalStorage")
    google.document = answering(egress, standard, dual, service=CLOUD_STORAGE)
    facts = in_force("gcp", "internet", "gcs-standard")
    found, _ = read(COMPUTE, google, tmp_path, facts, ["us-central1", "asia-northeast1"])
    assert [(each.tier_from, each.price) for each in found if each.sku == "gcs-standard"] == [(0, Decimal("0.02"))]
    tiers = [(0, Decimal("0.12")), (1024, Decimal("0.11")), (10240, Decimal("0.07"))]
    for region in ("us-central1", "asia-northeast1"):
        assert [(each.tier_from, each.price) for each in found if each.sku == "internet" and each.region == region] == tiers


def test_of_several_prices_the_one_that_came_into_force_last_holds(google, tmp_path):
    timeline = [
        priced({0: "9"}, since="2024-01-01T00:00:00Z"),
        priced({0: "0.04"}),
        priced({0: "8"}, since="2025-01-01T00:00:00.123456789Z"),
    ]
    google.document = answering(sku("Storage PD Capacity", "7", group="PDStandard", pricingInfo=timeline))
    for each in timeline:
        each["pricingExpression"]["usageUnit"] = GIB_MONTH
    ((found,), _) = read(COMPUTE, google, tmp_path, in_force("gcp", "pd-standard"))
    assert found.price == Decimal("0.04")


@given(
    st.decimals("0.000000001", "100000", places=9), st.decimals("0.000000001", "100", places=9), st.integers(1, 500), st.integers(1, 4000)
)
def test_units_and_nanos_are_read_and_summed_to_the_last_digit(core, ram, cores, gib):
    machine = in_force("gcp", "n1-standard-4")[0]._replace(region="us-central1", vcpus=float(cores), memory_gib=float(gib))
    names = ("N1 Predefined Instance Core", "N1 Predefined Instance Ram")
    request = Request(["us-central1"], [machine], Pages(parts(names, f"{core:f}", f"{ram:f}")), ACCESS)
    (found,) = COMPUTE.read(request)
    assert found.price == core * cores + ram * gib


class Pages:
    """A web of one page for every service."""

    def __init__(self, skus):
        self.skus = skus

    def json(self, url, secret):
        return {"skus": self.skus if COMPUTE_ENGINE in url else []}


# ---------------------------------------------------------------- the list


def test_gpus_of_one_name_are_told_apart_and_tesla_may_be_missing(google, tmp_path):
    words = "Vertex AI: Training/Pipelines on"
    skus = [sku(f"{words} Nvidia Tesla T4 GPU running in Americas", "0.4025"), sku(f"{words} NVIDIA V100 in Iowa", "2.852")]
    google.document = answering(*skus, service=VERTEX_AI)
    found, request = read(VERTEX, google, tmp_path, in_force("vertex", "n1-standard-gpu", "n1-standard-4+1xT4"))
    assert {(each.sku, each.gpu, each.unit): each.price for each in found} == {
        ("n1-standard-gpu", "T4", "gpu_hour"): Decimal("0.4025"),
        ("n1-standard-gpu", "V100", "gpu_hour"): Decimal("2.852"),
    }
    assert set(request.left.values()) == {"the catalogue has no SKU that is known as core of n1, on_demand"}


@pytest.fixture
def prices(tmp_path, monkeypatch):
    monkeypatch.setenv(catalogue.FOLDER, str(tmp_path / "prices"))
    catalogue.forget()
    yield tmp_path / "prices"
    catalogue.forget()


def renewed(google, skus, tmp_path, **more):
    google.document = answering(*skus)
    web = Web(tmp_path / "web", sleep=lambda seconds: None)
    return refresh("gcp", COMPUTE.at(google.url), regions=["us-central1"], access=ACCESS, web=web, **more)


def test_families_whose_skus_are_not_known_stay_and_so_does_the_rest_of_the_list(google, prices, tmp_path):
    before = catalogue.Catalogue().list("gcp")
    made = renewed(google, [*A2, *N1, T4], tmp_path)
    assert made.changes.doubts == []
    assert made.path == prices / "gcp.json"
    assert any("core of e2" in reason for reason in made.changes.left)
    after = catalogue.default().list("gcp")
    assert len(after.facts) == len(before.facts) + len(made.changes.added)
    assert after.find("compute", "e2-standard-4", "us-central1") == before.find("compute", "e2-standard-4", "us-central1")
    assert after.find("compute", "n1-standard-4", "us-central1").as_of == datetime.fromisoformat(NOW).date()
    assert after.tiers("egress", "internet", "us-central1") == before.tiers("egress", "internet", "us-central1")


@pytest.mark.parametrize(
    ("skus", "words"),
    [
        ([*parts(("N1 Predefined Instance Core", "N1 Predefined Instance Ram"), "0.189666", "0.025422", group="N1Standard"), T4], "became"),
        ([*N1[:1], {**N1[1], "serviceRegions": ["us-east1"]}, T4, *A2], "the source has no price"),
    ],
    ids=["6 times as much", "a part is no longer sold here"],
)
def test_what_looks_wrong_is_not_written(google, prices, tmp_path, skus, words):
    made = renewed(google, skus, tmp_path)
    assert made.path is None
    assert any("n1-standard-4" in doubt and words in doubt for doubt in made.changes.doubts)


def test_two_skus_of_one_part_that_contradict_change_nothing_that_is_made_of_it(google, prices, tmp_path):
    made = renewed(google, [*N1, sku("N1 Predefined Instance Core running in Iowa", "0.04", group="N1Standard"), T4], tmp_path)
    assert "n1-standard-4, us-central1, on_demand: 0.189999 and 0.223555" in made.changes.contradictory
    assert not made.changes.moved


def test_another_currency_leaves_a_region_without_prices(google, prices, tmp_path):
    euro = [{**each, "pricingInfo": [priced({0: "1"}, currency="EUR")]} for each in N1]
    with pytest.raises(ProviderError, match="no price in us-central1"):
        renewed(google, euro, tmp_path)
    assert not list(prices.glob("*.json"))


# ---------------------------------------------------------------- the way there


def test_pages_are_followed_and_one_that_broke_off_or_was_put_off_is_asked_for_again(google, tmp_path):
    whole = answering(*A2, *N1, T4, page=2)
    ill = iter([Answer(status=429, headers={"Retry-After": "2"}), Answer(b'{"skus": [{"des', cut=8), Answer(status=503)])
    slept = []

    def document(path, headers):
        return next(ill, None) or whole(path, headers) if "pageToken=at2" in path else whole(path, headers)

    google.document = document
    request = Request(["us-central1"], in_force("gcp", "a2-highgpu-1g"), Web(tmp_path, sleep=slept.append), ACCESS)
    assert {each.purchase for each in COMPUTE.at(google.url).read(request)} == {"on_demand", "reserved_1y"}
    tokens = [parse_qs(urlsplit(path).query).get("pageToken", [""])[0] for path, _ in google.asked if COMPUTE_ENGINE in path]
    assert Counter(tokens) == {"": 1, "at2": 4, "at4": 1, "at6": 1, "at8": 1}
    assert 2 in slept


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"skus": {"a": 1}}', "no SKUs"),
        (b'{"skus": [1]}', "no SKUs"),
        (b"[]", "no page"),
        (b"<html>", "no JSON"),
        (b'{"skus": [], "nextPageToken": "again"}', "circle"),
    ],
)
def test_pages_of_another_shape_are_no_price_list(google, tmp_path, content, words):
    google.document = lambda path, headers: Answer(content)
    with pytest.raises(UnavailableError, match=words):
        read(COMPUTE, google, tmp_path, in_force("gcp", "n1-standard-4"))


def test_a_service_without_skus_has_no_prices(google, prices, tmp_path):
    with pytest.raises(ProviderError, match="no price in us-central1"):
        renewed(google, [], tmp_path)


# ---------------------------------------------------------------- the key


@pytest.mark.parametrize("value", [None, "", "  ", "two words", "a key\nof two lines", "kéy"])
def test_without_a_key_it_is_said_how_to_get_one_and_nothing_is_asked(google, tmp_path, value):
    access = Access(environment={} if value is None else {VARIABLE: value})
    error = COMPUTE.lacks(access)
    assert isinstance(error, ConfigError)
    assert VARIABLE in error.message
    assert "https://cloud.google.com/billing" in (error.hint or "")
    assert not (value or "").strip() or value not in f"{error.message}{error.hint}"
    with pytest.raises(ConfigError):
        read(COMPUTE, google, tmp_path, in_force("gcp", "n1-standard-4"), access=access)
    assert not google.asked


@pytest.mark.parametrize(
    ("status", "kind"), [(400, InvalidRequestError), (403, PermissionDeniedError), (404, NotFoundError), (500, UnavailableError)]
)
def test_the_key_is_in_no_address_no_message_and_no_file(google, prices, tmp_path, status, kind, command, monkeypatch):
    google.document = lambda path, headers: Answer(b'{"error": {"message": "API key not valid"}}', status)
    with pytest.raises(kind) as error:
        read(COMPUTE, google, tmp_path, in_force("gcp", "n1-standard-4"))
    shown = "".join(f"{each!r}{each}{each.__dict__}" for each in (error.value, error.value.__cause__))
    assert KEY not in shown
    assert (VARIABLE in (error.value.hint or "")) is (status in (400, 403))
    assert all(KEY not in path for path, _ in google.asked)
    google.document = answering(*A2, *N1, T4)
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setattr("mlport_vertex.price_source.COMPUTE", COMPUTE.at(google.url))
    exit_status, out, err = command("refresh", "gcp", "--region", "us-central1")
    assert (exit_status, KEY in out + err) == (0, False)
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY not in repr(ACCESS)


def test_the_help_names_the_variable_and_without_a_key_a_named_list_is_refused_and_others_go_on(command, monkeypatch, prices):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert VARIABLE in " ".join(command("refresh", "--help")[1].split())
    status, _, err = command("refresh", "vertex")
    assert (status, VARIABLE in err) == (ConfigError.exit_code, True)
    monkeypatch.setattr("mlport.costs.refreshing.sources.names", lambda: ["gcp", "vertex"])
    status, out, err = command("refresh", "--json")
    assert (status, json.loads(out)) == (0, [])
    assert f"gcp is left out: prices of Google Cloud need an API key, and {VARIABLE} is not set" in err


def test_what_is_replayed_is_what_the_reference_describes():
    described = json.loads((Path(googleapiclient.discovery_cache.__file__).parent / "documents" / "cloudbilling.v1.json").read_text())
    schemas = described["schemas"]

    def check(value, schema):
        if "$ref" in schema:
            schema = schemas[schema["$ref"]]
        if "properties" in schema:
            assert set(value) <= set(schema["properties"])
            for name, each in value.items():
                check(each, schema["properties"][name])
        elif schema["type"] == "array":
            for each in value:
                check(each, schema["items"])
        else:
            kinds = {"string": str, "integer": int, "number": int | float, "boolean": bool}
            assert isinstance(value, kinds[schema["type"]])

    for each in (*A2, *N1, T4):
        check(each, {"$ref": "Sku"})
    method = described["resources"]["services"]["resources"]["skus"]["methods"]["list"]
    assert set(method["parameters"]) >= {"currencyCode", "pageSize", "pageToken"}
    assert method["path"] == "v1/{+parent}/skus"
