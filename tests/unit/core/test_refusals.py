"""The suite's refusals: one for each capability, and each asks for what it says and for nothing that is there."""

from __future__ import annotations

import pytest

import mlport
from mlport.capabilities import Capability, absent, native
from mlport.testing.refusals import REFUSALS, UNASKED, refused

WHY = "not in this test"


def provider_without(client: mlport.Client, *gaps: Capability) -> type:
    """The client's provider, able to do everything but these."""

    class Without(type(client.provider)):  # type: ignore[misc]
        def supports(self, config: object) -> dict[Capability, object]:
            return {capability: absent(WHY) if capability in gaps else native() for capability in Capability}

    return Without


def test_every_capability_has_a_refusal_or_a_reason_why_nobody_asks_for_it() -> None:
    assert set(REFUSALS) | set(UNASKED) == set(Capability), "a new capability needs a way of asking for it in mlport.testing.refusals"
    assert not set(REFUSALS) & set(UNASKED)
    assert all(UNASKED.values())
    assert len(UNASKED) <= 5


@pytest.mark.parametrize("capability", Capability, ids=lambda capability: capability.value)
def test_a_refusal_is_of_that_capability_alone(sample: mlport.Client, capability: Capability) -> None:
    sample.provider = provider_without(sample, capability)()
    error = refused(sample, capability)
    assert list(error.gaps) == [capability.value]
    assert WHY in str(error)


def test_a_provider_that_does_what_it_calls_absent_is_caught(sample: mlport.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sample.provider = provider_without(sample, Capability.JOB_RETRY)()
    monkeypatch.setattr(sample, "plan", lambda spec, facts: None)
    monkeypatch.setattr(sample, "require", lambda *capabilities: {})
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        refused(sample, Capability.JOB_RETRY)
