"""The local provider: your own machine, with nothing to install or start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlport_local.config import LocalConfig
from mlport_local.plan import plan
from mlport_local.support import supports

if TYPE_CHECKING:
    from mlport.capabilities import SupportMap
    from mlport.specs import Spec
    from mlport.spi import Facts, Plan, Session


class LocalProvider:
    """What the entry point `mlport.providers: local` names."""

    name = "local"
    extra = "local"
    config = LocalConfig

    def supports(self, config: LocalConfig) -> SupportMap:
        return supports(config)

    def plan(self, config: LocalConfig, spec: Spec, facts: Facts) -> Plan:
        return plan(config, spec, facts)

    def open(self, config: LocalConfig) -> Session:
        from mlport_local.session import LocalSession

        return LocalSession(config)


PROVIDER = LocalProvider()
