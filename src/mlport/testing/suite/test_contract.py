"""The shape of a provider: answers for every capability, plans purely, keeps to the interface's signatures."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import mlport
from mlport import spi
from mlport.capabilities import Capability, Level, Support
from mlport.errors import MlportError, NotFoundError, SpecError, UnsupportedError
from mlport.testing import needs, purity
from mlport.testing.targets import Targets

C = Capability
ROLES = {
    "jobs": (spi.Jobs, C.JOB_RUN),
    "models": (spi.Models, C.MODEL_REGISTER),
    "endpoints": (spi.Endpoints, C.ENDPOINT_SERVE),
    "schedules": (spi.Schedules, C.SCHEDULE),
    "operations": (spi.Operations, C.JOB_RUN),
    "state": (spi.StateStore, C.JOB_RUN),
}


def test_supports_answers_for_every_capability_with_a_reason(client: mlport.Client) -> None:
    supports = client.provider.supports(client.config)
    assert set(supports) == set(Capability)
    for capability, support in supports.items():
        assert isinstance(support, Support), capability
        assert support.detail or support.level is Level.NATIVE, f"{capability.value} is {support.level}, but says not why or how"


def test_it_is_a_provider_that_names_itself(client: mlport.Client) -> None:
    assert isinstance(client.provider, spi.Provider)
    assert client.config.scheme == client.provider.name
    assert client.config.target.startswith(f"{client.provider.name}:")


def methods(protocol: type) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in vars(protocol).items() if inspect.isfunction(value) and not name.startswith("_"))


def drift(wanted: Callable[..., Any], found: Callable[..., Any] | None) -> str | None:
    """How a method differs from the interface's; parameters of its own must have defaults."""
    if found is None:
        return "is missing"
    theirs, ours = inspect.signature(found).parameters, inspect.signature(wanted).parameters
    for name, parameter in ours.items():
        if name not in theirs:
            return f"has no parameter {name!r}"
        if (theirs[name].kind, theirs[name].default) != (parameter.kind, parameter.default):
            return f"has {theirs[name]} instead of {parameter}"
    extra = [name for name, parameter in theirs.items() if name not in ours and parameter.default is inspect.Parameter.empty]
    return f"asks for {', '.join(extra)}" if extra else None


@pytest.mark.parametrize("role", ROLES)
def test_no_signature_drifts_from_the_interface(client: mlport.Client, targets: Targets, role: str) -> None:
    protocol, capability = ROLES[role]
    if targets.absent(capability):
        return
    kind = type(getattr(client.session, role))
    drifted = {name: drift(wanted, getattr(kind, name, None)) for name, wanted in methods(protocol)}
    assert not {name: how for name, how in drifted.items() if how}


def test_a_tuner_of_its_own_is_a_role_just_where_sweeps_are_native(client: mlport.Client) -> None:
    is_native = client.provider.supports(client.config)[C.SWEEP].level is Level.NATIVE
    assert isinstance(client.session, spi.Tunes) == is_native
    if isinstance(client.session, spi.Tunes):
        kind = type(client.session.sweeps)
        assert not {name: how for name, wanted in methods(spi.Sweeps) if (how := drift(wanted, getattr(kind, name, None)))}


def test_session_and_provider_have_the_interfaces_methods(client: mlport.Client) -> None:
    for protocol, found in ((spi.Session, client.session), (spi.Provider, client.provider)):
        drifted = {name: drift(wanted, getattr(type(found), name, None)) for name, wanted in methods(protocol)}
        assert not {name: how for name, how in drifted.items() if how}
    assert client.session.find_lag >= 0


@pytest.mark.parametrize("kind", sorted(purity.SPECS))
def test_the_same_spec_and_facts_give_the_same_plan(client: mlport.Client, kind: str) -> None:
    spec, facts = purity.case(kind)
    if not purity.is_planned(client, kind, spec):
        with pytest.raises(UnsupportedError):
            client.plan(spec, facts)
        return
    first, second = (client.provider.plan(client.config, spec, facts) for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(first.to_json())) == first.to_json(), "a plan must be plain JSON data"
    assert (first.provider, first.target, first.kind) == (client.provider.name, client.config.target, kind)
    assert first.requests, "a plan says what would be sent"


def test_planning_reads_sends_and_imports_nothing(client: mlport.Client, targets: Targets) -> None:
    words = [sys.executable, "-m", "mlport.testing.purity", str(targets.target(0))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["foreign"] == [], "supports and plan import no vendor's code"
    assert told["acts"] == [], "plan touches nothing outside itself"
    assert told["plans"] == purity.plans(client), "another process makes the same plans"


def test_settings_of_another_provider_are_ignored_and_unknown_ones_refused(client: mlport.Client) -> None:
    spec, facts = purity.case("job", options={"nobody": {"x": 1}})
    client.provider.plan(client.config, spec, facts)
    spec, facts = purity.case("job", options={client.provider.name: {"mlport-suite-no-such-option": 1}})
    with pytest.raises(SpecError, match="mlport-suite-no-such-option"):
        client.provider.plan(client.config, spec, facts)


ABSENT = "suite-nobody-has-this"
EVER = spi.Window(datetime(2001, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
LOOKS: list[Any] = [
    pytest.param(lambda session: session.jobs.status(ABSENT), marks=needs(C.JOB_RUN), id="jobs.status"),
    pytest.param(lambda session: session.jobs.result(ABSENT), marks=needs(C.JOB_RUN), id="jobs.result"),
    pytest.param(lambda session: session.jobs.logs(ABSENT), marks=needs(C.JOB_LOGS), id="jobs.logs"),
    pytest.param(lambda session: session.models.get(ABSENT, "1"), marks=needs(C.MODEL_REGISTER), id="models.get"),
    pytest.param(lambda session: session.models.resolve(ABSENT, "champion"), marks=needs(C.MODEL_ALIAS), id="models.resolve"),
    pytest.param(lambda session: session.endpoints.get(ABSENT), marks=needs(C.ENDPOINT_SERVE), id="endpoints.get"),
    pytest.param(lambda session: session.endpoints.predict(ABSENT, [{"x": 1}]), marks=needs(C.ENDPOINT_SERVE), id="endpoints.predict"),
    pytest.param(lambda session: session.input(f"/{ABSENT}/rows.csv"), marks=needs(C.JOB_INPUT_LOCAL), id="input"),
]


@pytest.mark.parametrize("look", LOOKS)
def test_what_is_not_there_is_our_error_with_provider_and_operation(client: mlport.Client, look: Callable[[Any], Any]) -> None:
    with pytest.raises(NotFoundError) as caught:
        look(client.session)
    error: MlportError = caught.value
    assert (error.provider, bool(error.operation)) == (client.provider.name, True), f"{error!r} must say provider and operation"


VERBS: list[Any] = [
    pytest.param(C.JOB_CANCEL, lambda session: session.jobs.cancel(ABSENT), id="job.cancel"),
    pytest.param(C.JOB_LOGS, lambda session: session.jobs.logs(ABSENT), id="job.logs"),
    pytest.param(C.JOB_METRICS, lambda session: session.jobs.metrics(ABSENT), id="job.metrics"),
    pytest.param(C.MODEL_ALIAS, lambda session: session.models.set_alias(ABSENT, "champion", "1"), id="model.alias"),
    pytest.param(C.MODEL_TAGS, lambda session: session.models.tag(ABSENT, "1", {"a": "b"}), id="model.tags"),
    pytest.param(C.MODEL_APPROVAL, lambda session: session.models.approve(ABSENT, "1", approved=True), id="model.approval"),
    pytest.param(C.ENDPOINT_KEY, lambda session: session.endpoints.rotate_key(ABSENT, token="0" * 32), id="endpoint.key"),
    pytest.param(C.ENDPOINT_CAPTURE, lambda session: list(session.endpoints.captured(ABSENT, EVER)), id="endpoint.capture"),
    pytest.param(C.ENDPOINT_OBSERVE, lambda session: session.endpoints.observe(ABSENT, EVER), id="endpoint.observe"),
]
WHOLE_ROLES = {"job": C.JOB_RUN, "model": C.MODEL_REGISTER, "endpoint": C.ENDPOINT_SERVE}


@pytest.mark.parametrize(("capability", "ask"), VERBS)
def test_a_verb_that_is_declared_absent_refuses_of_itself(
    client: mlport.Client, targets: Targets, capability: Capability, ask: Callable[[Any], Any]
) -> None:
    """Also below the core, which asks the map first: what does nothing must not look as if it had done it."""
    refusal = UnsupportedError if targets.absent(capability) else NotFoundError
    with pytest.raises(refusal) as caught:
        ask(client.session)
    if isinstance(caught.value, UnsupportedError):
        role = WHOLE_ROLES[capability.value.partition(".")[0]]
        assert set(caught.value.gaps) == {role.value if targets.absent(role) else capability.value}


def test_the_doctor_tells_its_findings(client: mlport.Client) -> None:
    findings = list(client.session.doctor())
    assert findings
    assert all(
        isinstance(finding, spi.Finding) and finding.check and (finding.ok or finding.hint or finding.detail) for finding in findings
    )


def test_a_session_may_be_closed_twice_and_used_anew(again: mlport.Client) -> None:
    again.session.close()
    again.close()
    again.close()
    assert again.session.find_lag >= 0
