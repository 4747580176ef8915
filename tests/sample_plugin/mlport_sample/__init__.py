"""The smallest real provider of mlport: everything is files under one folder, `sample:///path/of/the/folder`.

Read it beside `mlport/spi.py` to see what a provider is: a map of what it can do, a pure plan, and a session of roles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlport_sample.config import SampleConfig
from mlport_sample.plan import plan
from mlport_sample.support import SUPPORTS

if TYPE_CHECKING:
    from mlport.capabilities import SupportMap
    from mlport.specs import Spec
    from mlport.spi import Facts, Plan, Session


class SampleProvider:
    """What the entry point `mlport.providers: sample` names. Importing it loads nothing but this."""

    name = "sample"
    extra = "sample"
    config = SampleConfig

    def supports(self, config: SampleConfig) -> SupportMap:
        return SUPPORTS

    def plan(self, config: SampleConfig, spec: Spec, facts: Facts) -> Plan:
        return plan(config, spec, facts)

    def open(self, config: SampleConfig) -> Session:
        from mlport_sample.session import SampleSession

        return SampleSession(config)


PROVIDER = SampleProvider()
