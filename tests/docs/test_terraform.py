"""docs/*/main.tf parse, name nothing that they do not define, and say the same as their pages and mlport itself."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from mlport.config import Config
from mlport_databricks.config import DatabricksConfig
from mlport_vertex.config import VertexConfig

hcl2 = pytest.importorskip("hcl2", reason="needs python-hcl2: it reads Terraform's files")

DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Plan:
    """One provider's file, and what is to agree with it."""

    name: str
    config: type[Config]
    right: str  # what a role or privilege looks like
    rows: Sequence[str]  # how the rows of the page's table begin
    profile: frozenset[str]  # fields that the printed profile must have

    @property
    def path(self) -> Path:
        return DOCS / self.name / "main.tf"

    @cached_property
    def told(self) -> dict[str, Any]:
        with self.path.open(encoding="utf-8") as stream:
            found: dict[str, Any] = hcl2.load(stream)
        return found

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources and what is looked up, by their addresses."""
        blocks = [*self.told["resource"], *self.told.get("data", ())]
        return {
            f"{bare(kind)}.{bare(name)}": body for block in blocks for kind, named in block.items() if isinstance(named, dict)
            for name, body in named.items()
        }  # fmt: skip


VERTEX = Plan(
    "vertex",
    VertexConfig,
    r"roles/[A-Za-z0-9.]+",
    ("| you |", "| the jobs' account |", "| the deployments' account |", "| the builds' account |"),
    frozenset({"build_repository", "build_account", "capture_dataset"}),
)
DATABRICKS = Plan(
    "databricks",
    DatabricksConfig,
    r"\b(?:USE|CREATE|READ|WRITE|APPLY|CAN)_[A-Z]+\b|\b(?:EXECUTE|SELECT|WRITE)\b",
    ("| you |",),
    frozenset({"host", "catalog", "schema", "volume", "state", "policy_id", "warehouse_id", "secret_scope"}),
)
PLANS = [pytest.param(plan, id=plan.name) for plan in (VERTEX, DATABRICKS)]


def bare(name: str) -> str:
    return name.strip('"')


@pytest.mark.parametrize("plan", PLANS)
def test_every_name_that_it_uses_is_defined(plan: Plan) -> None:
    text = json.dumps(plan.told)
    variables = {bare(name) for block in plan.told["variable"] for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == variables
    own = {bare(name) for block in plan.told.get("locals", ()) for name in block}
    assert set(re.findall(r"\blocal\.(\w+)", text)) <= own
    assert set(re.findall(r"\b((?:google|databricks|aws)_\w+\.\w+)", text)) <= set(plan.resources)


@pytest.mark.parametrize("plan", PLANS)
def test_what_may_be_left_out_is_counted_wherever_it_is_used(plan: Plan) -> None:
    text = json.dumps(plan.told)
    for address, body in plan.resources.items():
        if "count" in body:
            assert re.findall(rf"\b{re.escape(address)}(?!\[)\b(?!\w|\[)", text) == [], f"{address} is used without its index"


@pytest.mark.parametrize("plan", PLANS)
def test_rights_are_those_of_the_page(plan: Plan) -> None:
    page = DOCS.joinpath(f"{plan.name}.md").read_text("utf-8").splitlines()
    table = [line for line in page if line.startswith(tuple(plan.rows))]
    assert {next(row for row in plan.rows if line.startswith(row)) for line in table} == set(plan.rows)
    said, made = ({*re.findall(plan.right, text)} for text in ("\n".join(table), plan.path.read_text("utf-8")))
    assert said == made


@pytest.mark.parametrize("plan", PLANS)
def test_the_profile_that_it_prints_is_one(plan: Plan) -> None:
    printed = next(named for block in plan.told["output"] for name, named in block.items() if bare(name) == "profile")["value"]
    fields = set(re.findall(r"^\s*(\w+) = ", printed.replace("\\n", "\n"), re.MULTILINE)) - {"provider"}
    known = {field.alias or name for name, field in plan.config.model_fields.items()}
    assert plan.profile <= fields <= known
