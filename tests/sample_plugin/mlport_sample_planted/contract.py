"""Bugs of the provider itself and of its state store, one a class."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from mlport_sample import SampleProvider
from mlport_sample.config import SampleConfig

from mlport.capabilities import Capability, SupportMap, absent
from mlport.specs import Spec
from mlport.spi import Facts, Plan, Session
from mlport.state.sqlite import SqliteStateStore


class PlanTellsTime(SampleProvider):
    """Two plans of the same are two plans."""

    def plan(self, config: SampleConfig, spec: Spec, facts: Facts) -> Plan:
        return replace(super().plan(config, spec, facts), resolved={"planned": datetime.now(UTC).isoformat()})


class PlanReadsDisk(SampleProvider):
    """To plan is to read a file."""

    def plan(self, config: SampleConfig, spec: Spec, facts: Facts) -> Plan:
        return replace(super().plan(config, spec, facts), resolved={"bytes": len(Path(__file__).read_bytes())})


class PlanTellsSecrets(SampleProvider):
    """A plan, and so the journal, holds the values of the secrets."""

    def plan(self, config: SampleConfig, spec: Spec, facts: Facts) -> Plan:
        values = {name: os.environ.get(name) for name in getattr(spec, "secrets", ())}
        return replace(super().plan(config, spec, facts), resolved={"environment": values})


class OptionsIgnored(SampleProvider):
    """A mistyped option is taken without a word."""

    def plan(self, config: SampleConfig, spec: Spec, facts: Facts) -> Plan:
        known = spec.model_copy(update={"options": {}}) if hasattr(spec, "options") else spec
        return replace(super().plan(config, known, facts), spec=spec.to_json())


class GapWithoutReason(SampleProvider):
    """It is not said why something is absent."""

    def supports(self, config: SampleConfig) -> SupportMap:
        return {**super().supports(config), Capability.JOB_SPOT: absent("")}


class TunerUnsaid(SampleProvider):
    """The session has a tuner that the capability map knows nothing of."""

    def open(self, config: SampleConfig) -> Session:
        session = super().open(config)
        setattr(session, "sweeps", session.jobs)  # noqa: B010 - the role is optional: no class declares it
        return session


class RecallsNothing(SampleProvider):
    """The session says that its jobs keep how they were asked for, and they do not."""

    def open(self, config: SampleConfig) -> Session:
        session = super().open(config)
        setattr(session, "asked", lambda job_id: None)  # noqa: B010 - the role is optional: no class declares it
        return session


class SwapsBlindly(SqliteStateStore):
    """What is expected of a value is not looked at, so that the journal takes every try for the first."""

    def put(self, key: str, value: bytes, *, expect: str | None = None) -> str:
        return super().put(key, value)
