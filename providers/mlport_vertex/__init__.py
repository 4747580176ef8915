"""Google Cloud's Vertex AI: custom jobs, its model registry, its endpoints. docs/vertex.md says how to set it up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlport_vertex.config import VertexConfig
from mlport_vertex.support import supports

if TYPE_CHECKING:
    from mlport.capabilities import SupportMap
    from mlport.specs import Spec
    from mlport.spi import Facts, Plan, Session


class VertexProvider:
    """What the entry point `mlport.providers: vertex` names."""

    name = "vertex"
    extra = "vertex"
    config = VertexConfig

    def supports(self, config: VertexConfig) -> SupportMap:
        return supports(config)

    def plan(self, config: VertexConfig, spec: Spec, facts: Facts) -> Plan:
        from mlport_vertex.plan import plan

        return plan(config, spec, facts)

    def open(self, config: VertexConfig) -> Session:
        from mlport_vertex.session import VertexSession

        return VertexSession(config)


PROVIDER = VertexProvider()
