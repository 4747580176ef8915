"""Everything that is declared absent is seen to be refused, before anything is sent and naming the gap."""

from __future__ import annotations

import pytest

import mlport
from mlport.capabilities import Capability
from mlport.testing.plugin import targets
from mlport.testing.refusals import refused


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "gap" in metafunc.fixturenames:
        run = targets(metafunc.config)
        gaps = [capability for capability in Capability if run.absent(capability)]
        metafunc.parametrize("gap", gaps, ids=[gap.value for gap in gaps])


def test_what_is_absent_is_refused_with_its_reason(client: mlport.Client, gap: Capability) -> None:
    reason = client.provider.supports(client.config)[gap].detail
    assert reason in str(refused(client, gap))


def test_every_gap_is_named_at_once(client: mlport.Client) -> None:
    gaps = [capability for capability, support in client.provider.supports(client.config).items() if not support.available]
    if gaps:
        with pytest.raises(mlport.errors.UnsupportedError) as caught:
            client.require(*gaps)
        assert set(caught.value.gaps) == {gap.value for gap in gaps}
