"""The rule by which machines are chosen: as a brute search would, and the same one in an adapter's plan as in an estimate."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from mlport.config import Config
from mlport.costs.catalogue import default
from mlport.costs.estimate import estimate
from mlport.costs.facts import Fact
from mlport.costs.offers import FIELDS, machine, offer, order, refusal, satisfies, shortage
from mlport.costs.records import Estimate, Line
from mlport.costs.workload import Workload
from mlport.errors import SpecError
from mlport.specs import BatchSpec, Compute, DeploymentSpec, JobSpec, ModelRef
from mlport.spi import Facts, Plan, Provider
from mlport_databricks import PROVIDER as DATABRICKS
from mlport_databricks.compute.nodes import market, stand_in
from mlport_databricks.config import DatabricksConfig
from mlport_vertex import PROVIDER as VERTEX
from mlport_vertex.config import VertexConfig

LISTS = ("aws", "azure", "databricks", "gcp", "sagemaker", "vertex")
CLOUDS = {"aws": "acme.cloud.databricks.com", "azure": "adb-1.2.azuredatabricks.net", "gcp": "1.2.gcp.databricks.com"}
GPUS = ("A10", "A100", "A100-80GB", "a10g", "H100", "L4", "t4", "V100")
MODEL = {"name": "delays", "version": "3", "uri": "/models/delays/3", "flavors": ["sklearn"], "tags": {}, "digest": "0" * 64}


@st.composite
def computes(draw: st.DrawFn) -> Compute:
    """Machines of all sizes, some of which nobody has."""
    gpus = draw(st.sampled_from([0, 0, 0, 1, 1, 2, 4, 8, 9]))
    return Compute(
        cpus=draw(st.sampled_from([0.5, 1, 2, 3, 4, 6, 8, 16, 17, 32, 48, 96, 208, 300])),
        memory_gib=draw(st.sampled_from([0.5, 1, 3, 4, 7.5, 8, 15, 16, 17, 32, 64, 120, 240, 500, 2000, 9000])),
        gpus=gpus,
        gpu=draw(st.sampled_from([None, *GPUS])) if gpus else None,
        nodes=draw(st.sampled_from([1, 1, 2, 7])),
        spot=draw(st.booleans()),
    )


def vertex(region: str) -> VertexConfig:
    return VertexConfig.from_url(f"vertex://acme-ml/{region}?staging=gs://acme-ml/mlport")


def databricks(cloud: str, region: str, tier: str = "premium") -> DatabricksConfig:
    return DatabricksConfig.from_url(
        f"databricks://{CLOUDS[cloud]}/main/ml?state=gs://acme-ml/mlport&region={region}&cloud={cloud}&tier={tier}"
    )


PLACES: list[tuple[Provider, Any]] = [
    *((VERTEX, vertex(region)) for region in default().list("vertex").machine_regions),
    *(
        (DATABRICKS, databricks(cloud, region, tier))
        for cloud in CLOUDS
        for region in default().list(cloud).machine_regions
        for tier in ("standard", "premium", "enterprise")
        if default().list("databricks").find("dbu", f"{tier.upper()}_JOBS_COMPUTE", region)
    ),
]


# ---------------------------------------------------------------- the rule


@settings(max_examples=200, deadline=None, derandomize=True)
@given(name=st.sampled_from(LISTS), at=st.integers(0, 10_000), asked=computes())
def test_the_cheapest_that_satisfies_is_found_and_else_the_field_that_none_does(name: str, at: int, asked: Compute) -> None:
    """Against a search that asks each machine each question."""
    prices = default().list(name)
    assume(prices.machine_regions)
    region = prices.machine_regions[at % len(prices.machine_regions)]
    here = [fact for fact in prices.of("compute", region) if fact.purchase == "on_demand"]
    questions = {
        "gpu": lambda fact: asked.gpu is None or fact.gpu.lower() == asked.gpu.lower(),
        "gpus": lambda fact: fact.gpus >= asked.gpus if asked.gpus else fact.gpus == 0,
        "cpus": lambda fact: fact.vcpus >= asked.cpus,
        "memory_gib": lambda fact: fact.memory_gib >= asked.memory_gib,
    }
    fitting = [fact for fact in here if all(asks(fact) for asks in questions.values())]
    assert [fact for fact in here if satisfies(fact, asked)] == fitting
    found = prices.offers(asked, region)
    assert sorted(found) == sorted(fitting)
    assert all((a.price, a.vcpus, a.memory_gib, a.sku) < (b.price, b.vcpus, b.memory_gib, b.sku) for a, b in pairwise(found))
    if fitting:
        assert shortage(here, asked) is None
        chosen = offer(fitting)
        assert chosen is not None
        assert (chosen.fact, chosen.hourly) == (found[0], min(fact.price for fact in fitting))
        return
    lacking = shortage(here, asked)
    assert lacking is not None
    field, near = lacking
    left = here
    for earlier in FIELDS[: FIELDS.index(field)]:
        left = [fact for fact in left if questions[earlier](fact)]
    assert near in left
    assert not any(questions[field](fact) for fact in left)
    size = {"gpu": "gpus", "cpus": "vcpus"}.get(field, field)
    assert getattr(near, size) == max(getattr(fact, size) for fact in left)
    said = refusal(here, asked, "JobSpec.compute", region)
    assert said.message.startswith(f"JobSpec.compute.{field}: ")
    assert near.sku in (said.hint or "") or field == "gpu"


@settings(derandomize=True)
@given(st.permutations(range(6)))
def test_ties_go_to_fewer_cpus_then_less_memory_then_the_name_in_whatever_order_they_come(order_of: list[int]) -> None:
    like = default().list("vertex").of("compute", "us-central1")[0]._replace(price=Decimal(1), purchase="on_demand")
    sizes = [(2, 8, "b"), (2, 8, "c"), (2, 16, "a"), (4, 4, "a"), (4, 8, "a"), (8, 8, "a")]
    facts: list[Fact] = [like._replace(vcpus=cpus, memory_gib=gib, sku=sku) for cpus, gib, sku in sizes]
    assert sorted((facts[at] for at in order_of), key=order()) == facts
    chosen = offer([facts[at] for at in order_of])
    assert chosen is not None
    assert chosen.fact == facts[0]


def test_without_machines_there_is_no_offer_and_no_nearest() -> None:
    assert offer([]) is None
    assert shortage([], Compute()) is None
    assert "no machine is known in here" in str(refusal([], Compute(), "JobSpec.compute", "here"))


# ---------------------------------------------------------------- plan and estimate


def planned(provider: Provider, config: Config, spec: JobSpec | BatchSpec | DeploymentSpec) -> Plan | None:
    """The plan, None where no machine satisfies."""
    facts = Facts(bundle="0" * 64, labels={"mlport": "1"}, model=MODEL, machine={})
    try:
        return provider.plan(config, spec, facts)
    except SpecError as error:
        if ".compute." not in error.message:
            raise
        return None


def an_hour(provider: Provider, config: Any, parts: dict[str, Any], **more: Any) -> Estimate:
    region = getattr(config, "location", None) or config.region
    told = {"region": region, **({"tier": config.tier} if provider is DATABRICKS else {}), **more}
    return estimate(Workload.model_validate({**parts, "targets": {provider.name: told}}), provider.name, catalogue=default())


def same(plan: Plan | None, found: Estimate, nodes: int) -> None:
    """One machine, and the same price of an hour of it to the last digit; or both refuse."""
    if plan is None:
        assert found.refused
        return
    assert not found.refused, found.refused[0].why
    told = plan.resolved
    line, *beside = [each for each in found.lines if each.unit in ("hour", "dbu")]
    if line.price is None:
        assert told["machine"] in line.what
        assert told["usd_per_hour"] is None
        assert "no spot price" in told["price_basis"]
        return
    fact = line.fact
    assert fact is not None
    hourly = (line.price.value + sum(_an_hour_of(each, line) for each in beside)) * nodes
    if told["price_basis"].startswith("spot") and fact.purchase == "on_demand":  # an estimate knows of interruptions, and says so
        assert "fit: on demand, for spot with its interruptions is not cheaper" in found.assumptions
        assert hourly * Decimal("0.98") < Decimal(told["usd_per_hour"]) < hourly
        return
    assert (told["machine"], told["gpus"], told["gpu"]) == (machine(fact), fact.gpus, fact.gpu or None)
    assert Decimal(told["usd_per_hour"]) == hourly
    assert fact.purchase.replace("_", " ") in told["price_basis"]
    assert fact.region in told["price_basis"]


def _an_hour_of(dbus: Line, hours: Line) -> Decimal:
    """What the DBUs of an hour of a machine cost: their rating as the line's words begin, times the price of one."""
    assert dbus.price is not None
    rating = Decimal(dbus.formula.partition(" DBU an hour")[0])
    assert abs(hours.quantity * rating - dbus.quantity) < Decimal("1e-20")
    return rating * dbus.price.value


@settings(max_examples=500, deadline=None, derandomize=True)
@given(place=st.sampled_from(PLACES), asked=computes())
@example(PLACES[0], Compute())
@example(PLACES[4], Compute(gpus=1, gpu="T4"))
def test_a_job_runs_on_the_machine_that_is_priced(place: tuple[Provider, Any], asked: Compute) -> None:
    provider, config = place
    plan = planned(provider, config, JobSpec(name="fit", entrypoint=("python", "fit.py"), compute=asked))
    part = {"name": "fit", "compute": asked, "hours": 1, "interrupted": 0, "checkpoint_every": "1h"}
    same(plan, an_hour(provider, config, {"training": [part]}), asked.nodes)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(place=st.sampled_from(PLACES), asked=computes())
def test_a_batch_runs_on_the_machine_that_is_priced(place: tuple[Provider, Any], asked: Compute) -> None:
    provider, config = place
    asked = asked.model_copy(update={"spot": False})
    output = f"{config.staging}/out" if provider is DATABRICKS else "gs://acme-ml/out"
    spec = BatchSpec(
        name="score", model=ModelRef(name="delays", version="3"), input="gs://acme-ml/rows.parquet", output=output, compute=asked
    )
    part = {"compute": asked, "rows": 3600, "rows_per_second": 1}
    same(planned(provider, config, spec), an_hour(provider, config, {"batches": [part]}), asked.nodes)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(place=st.sampled_from([place for place in PLACES if place[0] is VERTEX]), asked=computes(), replicas=st.integers(1, 5))
def test_a_replica_runs_on_the_machine_that_is_priced(place: tuple[Provider, Any], asked: Compute, replicas: int) -> None:
    provider, config = place
    asked = asked.model_copy(update={"nodes": 1, "spot": False})
    spec = DeploymentSpec.model_validate(
        {"model": {"name": "delays", "version": "3"}, "endpoint": "delays", "compute": asked, "replicas": {"min": replicas, "max": 5}}
    )
    part = {"compute": asked, "requests_per_second": 0, "max_replicas": 1}
    same(planned(provider, config, spec), an_hour(provider, config, {"endpoints": [part]}), replicas)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(place=st.sampled_from(PLACES), at=st.integers(0, 10_000))
def test_a_machine_that_is_named_is_the_one_that_is_priced(place: tuple[Provider, Any], at: int) -> None:
    provider, config = place
    known = default().list("vertex").of("compute", config.location) if provider is VERTEX else market(config).machines
    _named(provider, config, known[at % len(known)])


ATTACHED = [fact for fact in default().list("vertex").of("compute", "us-central1") if "+" in fact.sku]


@pytest.mark.parametrize("fact", ATTACHED, ids=lambda fact: fact.sku)
def test_a_machine_that_is_named_has_the_gpus_that_are_attached_to_it(fact: Fact) -> None:
    """The price list has it by another name: with them, and once without."""
    _named(VERTEX, vertex("us-central1"), fact)


def _named(provider: Provider, config: Any, fact: Fact) -> None:
    asked = Compute(cpus=fact.vcpus, memory_gib=fact.memory_gib, gpus=fact.gpus, gpu=fact.gpu or None)
    option = {"vertex": {"machine": machine(fact)}} if provider is VERTEX else {"databricks": {"node_type": fact.sku}}
    spec = JobSpec.model_validate({"name": "fit", "entrypoint": ["python", "fit.py"], "compute": asked, "options": option})
    plan = planned(provider, config, spec)
    assert plan is not None
    assert (plan.resolved["machine"], plan.resolved["gpus"]) == (machine(fact), fact.gpus)
    found = an_hour(provider, config, {"training": [{"compute": asked, "hours": 1}]}, machines={"*": machine(fact)})
    same(plan, found, 1)


@pytest.mark.parametrize("config", [vertex("africa-south1"), databricks("aws", "us-west-2"), databricks("aws", "us-east-1", "standard")])
def test_where_no_price_is_known_a_plan_has_none_and_an_estimate_is_refused(config: Any) -> None:
    provider = VERTEX if isinstance(config, VertexConfig) else DATABRICKS
    plan = planned(provider, config, JobSpec(name="fit", entrypoint=("python", "fit.py")))
    assert plan is not None
    assert plan.resolved["usd_per_hour"] is None
    assert "known in" in plan.resolved["price_basis"]
    try:
        found = an_hour(provider, config, {"training": [{"hours": 1}]})
    except SpecError:
        return
    assert found.refused


def test_who_looks_after_a_profile_is_told_where_prices_stand_in() -> None:
    assert stand_in(databricks("aws", "us-west-2")) == "no prices are known in aws us-west-2"
    assert stand_in(databricks("gcp", "europe-west4")) == "no prices are known in gcp europe-west4"
    assert stand_in(databricks("azure", "eastus")) == ""


def test_no_machine_is_lost_that_databricks_rates_and_its_cloud_sells() -> None:
    """Also where their names are written with other letters."""
    ratings = [fact for fact in default().list("databricks").facts if fact.service == "rating"]
    assert len(ratings) > 100
    for fact in ratings:
        assert fact.sku in {each.sku for each in default().list(fact.region.removeprefix("*")).facts}
