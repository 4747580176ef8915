"""Databricks: runs on clusters or serverless, models in Unity Catalog, Model Serving. docs/databricks.md says how to set it up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlport_databricks.config import DatabricksConfig
from mlport_databricks.plan import plan
from mlport_databricks.support import supports

if TYPE_CHECKING:
    from mlport.capabilities import SupportMap
    from mlport.specs import Spec
    from mlport.spi import Facts, Plan, Session


class DatabricksProvider:
    """What the entry point `mlport.providers: databricks` names."""

    name = "databricks"
    extra = "databricks"
    config = DatabricksConfig

    def supports(self, config: DatabricksConfig) -> SupportMap:
        return supports(config)

    def plan(self, config: DatabricksConfig, spec: Spec, facts: Facts) -> Plan:
        return plan(config, spec, facts)

    def open(self, config: DatabricksConfig) -> Session:
        from mlport_databricks.session import DatabricksSession

        return DatabricksSession(config)


PROVIDER = DatabricksProvider()
