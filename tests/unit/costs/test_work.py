"""Real work on this machine with a hardware book: its price at submit, its cost by measured hours, and a budget that holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

import mlport
from mlport.cli.main import run
from mlport.costs.at_work import costs as work
from mlport.costs.at_work import freezing
from mlport.costs.at_work.frozen import Component, Frozen
from mlport.costs.at_work.served import PREFIX, Ledger
from mlport.costs.records import Price
from mlport.errors import BudgetError, ConfigError
from mlport.specs import BatchSpec, Compute, JobSpec, ModelRef
from mlport.spi import Facts, Plan, State
from mlport.state.sqlite import SqliteStateStore
from mlport.testing.waiting import eventually

ROOT = Path(__file__).parents[3]
NOW = datetime.now(UTC)
HOURLY = Frozen(
    "endpoint", "tiny here", "USD", NOW, [Component("small", "hour", Decimal(1), Price(Decimal(2), "hour", "the test", NOW.date()))]
)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with three profiles of one root: with a hardware book, with a budget of next to nothing, and without either."""
    hardware = ROOT / "examples" / "cost" / "hardware.toml"
    same = f'provider = "local"\nroot = "{tmp_path / "root"}"\n'
    (tmp_path / "mlport.toml").write_text(
        f'default = "own"\n[profiles.own]\n{same}hardware = "{hardware}"\n'
        f'[profiles.bound]\n{same}hardware = "{hardware}"\nmonthly_budget = "0.05 USD"\n'
        f'[profiles.bare]\n{same}monthly_budget = "0.05 USD"\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def own(project) -> Iterator[mlport.Client]:
    with mlport.connect("own") as client:
        yield client


def price_of(client, spec) -> Frozen | None:
    return freezing.price_of(client.config, spec, Plan("local", client.config.target, "job", "x", {}, Facts(), ()), client.file)


def short(**fields) -> JobSpec:
    return JobSpec.model_validate({"name": "short", "entrypoint": ("true",), "compute": {"cpus": 1}, "expected": "30m", **fields})


def test_a_machine_of_ones_own_has_a_price_for_each_job_and_the_price_stays(own, project):
    job = own.jobs.submit(short()).wait(60)
    cost = job.cost
    assert 0 < cost.frozen.hourly < 1
    assert cost.total == cost.frozen.hourly * cost.billed_hours > 0
    assert cost.frozen.expected == cost.frozen.hourly / 2
    assert {component.price.source for component in cost.frozen.components if component.price} != {""}
    dearer = project / "dearer.toml"
    dearer.write_text((ROOT / "examples" / "cost" / "hardware.toml").read_text().replace("0.0895", "9.0895"))
    (project / "mlport.toml").write_text(f'[profiles.own]\nprovider = "local"\nroot = "{project / "root"}"\nhardware = "dearer.toml"\n')
    with mlport.connect("own") as later:
        assert later.jobs.get(job.id).cost.total == cost.total
        assert later.explain(short()).price.hourly > cost.frozen.hourly


def test_without_a_hardware_book_the_cost_is_a_gap_and_never_nothing(project):
    with mlport.connect("bare") as bare:
        job = bare.jobs.submit(short()).wait(60)
        assert bare.explain(short()).price is None
        document = job.cost.to_json()
        assert (document["at_least"], document["lines"][0]["unit_price"], document["lines"][0]["free"]) == (True, None, False)
        assert "no price was kept" in document["lines"][0]["unknown"]


def test_what_nobody_can_price_is_said_with_the_reason(own, monkeypatch):
    monkeypatch.setattr("mlport.costs.pricing._found", dict)
    found = price_of(own, short())
    assert (found.hourly, found.unknown) == (0, ["machines: no prices of 'local' are known"])


def test_what_does_not_fit_is_refused_before_it_is_sent_and_counts_what_runs_still(project):
    with mlport.connect("bound") as bound:
        price = price_of(bound, short()).hourly
        fits = timedelta(hours=float(Decimal("0.03") / price))
        first = bound.jobs.submit(short(entrypoint=("sleep", "60"), expected=fits))
        with pytest.raises(BudgetError, match=r"0\.03 more by what runs now and 0\.03 planned, of 0\.05 USD") as caught:
            bound.jobs.submit(short(expected=fits), key="again")
        assert caught.value.to_json()["budget"]["verdict"] == "refuse"
        assert bound.jobs.find("again") is None
        first.cancel()
        eventually(first.status, lambda seen: seen.state.terminal, 60)
        bound.jobs.submit(short(expected=fits), key="again").wait(60)  # it ended early: there is room, and the key is free


def test_a_key_that_was_used_is_found_and_needs_no_budget(own, project):
    done = own.jobs.submit(short(expected="1s"), key="once").wait(60)
    with mlport.connect("bound") as bound:
        assert bound.jobs.submit(short(expected="1s"), key="once").id == done.id


def test_it_warns_where_it_cannot_know(project, caplog):
    with mlport.connect("bound") as bound:
        bound.jobs.submit(short(expected=None)).wait(60)
    assert "budget of bound: 0.00 spent this month and an unknown amount planned" in caplog.text
    assert "nobody said how long it would take" in caplog.text


def test_a_profile_may_only_warn(own, caplog):
    config = own.config.model_copy(update={"monthly_budget": "0.01 USD", "over_budget": "warn"})
    client = mlport.Client(own.provider, config)
    client.jobs.submit(short(expected="90d")).wait(60)
    assert "planned, of 0.01 USD" in caplog.text


def test_jobs_that_ended_are_asked_for_once(own, monkeypatch):
    jobs = [own.jobs.submit(short()).wait(60) for _ in range(3)]
    before = own.costs.spent()
    total = sum(job.cost.total for job in jobs)
    assert before.amounts["USD"] == pytest.approx(total)
    asked = []
    monkeypatch.setattr(work, "asked_for", lambda *args: asked.append(args))
    assert own.costs.spent() == before
    assert asked == []
    kept = own.session.state.get(f"costs/{NOW:%Y-%m}")
    assert set(json.loads(kept.value)) == {job.id for job in jobs}


def test_a_budget_that_is_none_is_refused_with_its_place(own):
    client = mlport.Client(own.provider, own.config.model_copy(update={"monthly_budget": "lots"}))
    with pytest.raises(ConfigError, match="own: monthly_budget: 'lots' is not an amount and a currency"):
        client.jobs.submit(short())


def test_the_command_line_says_it_all(own, project, capsys):
    job = own.jobs.submit(short()).wait(60)
    assert run(["cost", "actual", job.id, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["id"], found["state"], found["actual"]) == (job.id, State.SUCCEEDED.value, float(job.cost.total))
    assert all({"quantity", "unit", "unit_price", "amount", "source", "as_of"} <= set(line) for line in found["lines"])
    assert run(["cost", "actual"]) == 0
    assert job.id in capsys.readouterr().out
    assert run(["cost", "budget"]) == 0
    assert "no budget" in capsys.readouterr().out
    assert run(["jobs", "run", "-p", "bound", "--expected", "90d", "--", "true"]) == 3
    assert "over the budget of bound" in capsys.readouterr().err
    assert run(["cost", "budget", "-p", "bound", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "ok"
    assert run(["cost", "actual", "nobody"]) == 2


def test_a_month_that_is_over_its_budget_is_a_finding(project, capsys):
    with mlport.connect("bound") as bound:
        bound.jobs.submit(short(entrypoint=("sleep", "60"), expected=timedelta(hours=0.5)))
        key = f"costs/{NOW:%Y-%m}"
        bound.session.state.put(key, json.dumps({"older": ["0.04", "USD", []]}).encode())
        assert run(["cost", "budget", "-p", "bound"]) == 3
        assert capsys.readouterr().out.startswith("over the budget: 0.04 spent this month")
        for status in bound.jobs.list():
            bound.session.jobs.cancel(status.id)


def test_batches_and_endpoints_have_prices_and_models_have_none(own):
    model = ModelRef(name="m", version="1")
    batch = BatchSpec(name="b", model=model, input="x", output="y", compute=Compute(cpus=2), expected="1h")
    job = price_of(own, short(compute=Compute(cpus=2)))
    assert price_of(own, batch).hourly == job.hourly
    assert price_of(own, batch).kind == "batch"
    replica = price_of(own, mlport.DeploymentSpec(model=model, compute=Compute(cpus=2)))
    assert (replica.kind, replica.expected) == ("endpoint", None)
    assert replica.hourly > 0
    assert price_of(own, mlport.ModelSpec(name="m", path="x")) is None


# ---------------------------------------------------------------- deployments


@pytest.fixture
def state(tmp_path) -> Iterator[SqliteStateStore]:
    store = SqliteStateStore(tmp_path / "state.db")
    yield store
    store.close()


def test_a_deployment_counts_from_its_beginning_to_its_end(state):
    ledger = Ledger(state)
    ledger.begin("delays", "v1", HOURLY, (2, 5))
    ledger.begin("delays", "v1", HOURLY, (2, 5))  # asked for again
    ledger.begin("delays", "v2", HOURLY, (0, 1))
    ledger.begin("delays-eu", "v1", HOURLY, (1, 1))
    ledger.end("delays", "v1")
    found = {(each.endpoint, each.deployment): each for each in ledger.all(lambda *_: True)}
    assert len(found) == 3
    one, two = found["delays", "v1"], found["delays", "v2"]
    assert one.began <= one.ended
    assert (one.replicas, two.replicas, two.ended) == (2, 1, None)
    assert one.reasons == ["counted with 2 replicas: more, up to 5, are not in it"]
    assert two.reasons == ["counted as if one replica always ran: it scales to zero"]
    ledger.end("delays", None)
    assert {each.endpoint for each in ledger.all(lambda *_: True) if each.ended is None} == {"delays-eu"}


def test_what_others_removed_ended_when_it_was_last_seen(state):
    ledger = Ledger(state)
    ledger.begin("delays", "v1", HOURLY, (1, 1))
    (seen,) = ledger.all(lambda *_: True)
    (gone,) = ledger.all(lambda *_: False)
    assert (gone.ended, gone.by_others) == (seen.seen, True)
    assert "removed by others" in gone.reasons[0]
    assert list(ledger.all(lambda *_: pytest.fail("what has ended is not looked for"))) == [gone]
    ledger.begin("delays", "v1", HOURLY, (1, 1))  # it is made anew
    assert [each.ended is None for each in ledger.all(lambda *_: True)].count(True) == 1


def test_a_record_survives_its_writing(state):
    ledger = Ledger(state)
    ledger.begin("delays", "v1", HOURLY, (1, 3))
    (kept,) = ledger.all(lambda *_: True)
    assert kept == replace(kept, frozen=HOURLY, bounds=(1, 3))
    assert [key for key, _ in state.list(PREFIX)]
