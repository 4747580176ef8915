"""The conformance suite as an outsider runs it: against the local provider, and against the sample third-party one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conformance.suite_run import SUITE, run_suite

from mlport import registry
from mlport.capabilities import Capability


@pytest.mark.parametrize("provider", ["local", "sample"])
def test_a_provider_conforms(provider: str, tmp_path: Path) -> None:
    status, output = run_suite(tmp_path / "run", f"--profile={provider}")
    assert status == 0, output
    assert "skipped" not in output, "what is absent is seen to be refused, never skipped"


def test_a_url_is_a_profile_too_and_has_a_second_account_beside_it(tmp_path: Path) -> None:
    status, output = run_suite(tmp_path / "run", f"--profile=sample://{tmp_path}/place", "-k", "test_accounts and two_jobs")
    assert (status, bool(re.search(r"\b1 passed", output))) == (0, True), output
    assert (tmp_path / "place-other").is_dir()


def test_an_account_outlives_the_first_test_that_needs_a_folder(tmp_path: Path) -> None:
    """Pytest empties its --basetemp when a folder is first asked for, and the accounts of a run lie there."""
    writes, asks, reads = (
        "test_state::test_a_listing_has_the_prefix_and_the_order",
        "test_models::test_a_model_from_elsewhere_needs_trust",
        "test_state::test_a_value_is_kept_and_versioned",
    )
    status, output = run_suite(tmp_path / "run", "--profile=sample", f"{SUITE}.{asks}", f"{SUITE}.{reads}", tests=f"{SUITE}.{writes}")
    assert (status, bool(re.search(r"\b3 passed", output))) == (0, True), output


def test_absent_capabilities_become_refusals(tmp_path: Path) -> None:
    _, output = run_suite(tmp_path / "run", "--profile=sample", "--collect-only")
    provider = registry.load("sample")
    supports = provider.supports(provider.config.from_url("sample:///nowhere"))
    refused = set(re.findall(r"\[refuses ([a-z.-]+)\]", output))
    assert "batch" in refused
    assert refused <= {capability.value for capability in Capability if not supports[capability].available}
    for capability in Capability:
        assert (f"with_its_reason[{capability.value}]" in output) != supports[capability].available


def test_a_wrong_profile_is_one_clear_error(tmp_path: Path) -> None:
    status, output = run_suite(tmp_path / "run", "--profile=nobody")
    assert status != 0
    assert "no profile named 'nobody'" in output
