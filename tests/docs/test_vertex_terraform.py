"""docs/vertex/main.tf parses, names nothing that it does not define, and says the same as docs/vertex.md and mlport itself."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mlport_vertex.config import VertexConfig

hcl2 = pytest.importorskip("hcl2", reason="needs python-hcl2: it reads Terraform's files")

DOCS = Path(__file__).parents[2] / "docs"
FILE = DOCS / "vertex" / "main.tf"
ROLE = re.compile(r"roles/[A-Za-z0-9.]+")


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    with FILE.open(encoding="utf-8") as stream:
        found: dict[str, Any] = hcl2.load(stream)
    return found


def bare(name: str) -> str:
    return name.strip('"')


def resources(told: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The resources by their addresses."""
    return {
        f"{bare(kind)}.{bare(name)}": body for block in told["resource"] for kind, named in block.items() if isinstance(named, dict)
        for name, body in named.items()
    }  # fmt: skip


def test_every_name_that_it_uses_is_defined(told: dict[str, Any]) -> None:
    text = json.dumps(told)
    variables = {bare(name) for block in told["variable"] for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == variables
    own = {bare(name) for block in told["locals"] for name in block}
    assert set(re.findall(r"\blocal\.(\w+)", text)) <= own
    assert set(re.findall(r"\b(google_\w+\.\w+)", text)) <= set(resources(told))


def test_what_may_be_left_out_is_counted_wherever_it_is_used(told: dict[str, Any]) -> None:
    text = json.dumps(told)
    for address, body in resources(told).items():
        if "count" in body:
            assert re.findall(rf"\b{re.escape(address)}(?!\[)\b(?!\w|\[)", text) == [], f"{address} is used without its index"


def test_roles_are_those_of_the_page() -> None:
    page = DOCS.joinpath("vertex.md").read_text("utf-8")
    table = "\n".join(
        line for line in page.splitlines() if line.startswith(("| you |", "| the jobs'", "| the deployments'", "| the builds'"))
    )
    made = FILE.read_text("utf-8")
    assert set(ROLE.findall(table)) == set(ROLE.findall(made))
    rows = Counter(line.split("|")[1].strip() for line in table.splitlines())
    assert set(rows) == {"you", "the jobs' account", "the deployments' account", "the builds' account"}


def test_the_profile_that_it_prints_is_one(told: dict[str, Any]) -> None:
    printed = next(named for block in told["output"] for name, named in block.items() if bare(name) == "profile")["value"]
    fields = set(re.findall(r"^\s*(\w+) = ", printed.replace("\\n", "\n"), re.MULTILINE)) - {"provider"}
    assert {"build_repository", "build_account", "capture_dataset"} <= fields <= set(VertexConfig.model_fields)
