"""What may import what, and what starting up must not load."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE, PROVIDERS = ROOT / "src" / "mlport", ROOT / "providers"
SAMPLE = ROOT / "tests" / "sample_plugin" / "mlport_sample"
PACKAGES = [*sorted(folder for folder in PROVIDERS.iterdir() if (folder / "__init__.py").exists()), SAMPLE]
PRICED = [package for package in PACKAGES if (package / "pricing.py").exists() or (package / "pricing").is_dir()]
VENDORS = {"google", "azure", "databricks", "boto3", "botocore", "vertexai", "sagemaker"}
HEAVY = {"pandas", "sklearn", "pyarrow", "mlflow", "numpy", "moto", *VENDORS}
NAMES = ("vertex", "azure", "databricks", "sagemaker", "boto3", "google.cloud")
SPOKEN = {
    "serving": "the model server speaks the container contracts that vendors publish",
    "mlport_runner.py": "the runner names the vendors' variables that it bridges to",
    "transfer.py": "URL schemes are the vendors' own names",
}
LOADED = "print(json.dumps(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))"
NOWHERE = {
    "databricks": "databricks://nobody.cloud.databricks.com/main/ml?state=s3://nobody/mlport&region=us-east-1",
    "vertex": "vertex://nobody/us-central1?staging=gs://nobody/mlport",
}
"""Targets of providers that need more than a path."""
OF_AN_HOUR = [
    *("arithmetic", "at_work", "at_work.freezing", "at_work.frozen", "catalogue", "currencies", "demand", "estimate", "facts"),
    *("formulas", "items", "offers", "parts", "pricing", "quote", "records", "services"),
]
"""What of the cost engine prices an hour of work: no workload, price book, profile, comparison, bill or report."""
STARTS = ["import mlport", "from mlport import JobSpec", "import mlport.cli.main", "import mlport.testing.plugin"]


def imported(file: Path, *, at_start: bool = False) -> Iterator[str]:
    """The modules that a file imports, or only those that importing it loads."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in _at_start(tree) if at_start else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def _at_start(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those inside functions and `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        ):
            continue
        yield child
        yield from _at_start(child)


def files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*.py") if "__pycache__" not in file.parts)


def heads(file: Path, *, at_start: bool = False) -> set[str]:
    return {name.partition(".")[0] for name in imported(file, at_start=at_start)}


@pytest.mark.parametrize("file", files(CORE), ids=lambda file: str(file.relative_to(CORE)))
def test_the_core_knows_no_provider_and_no_vendor(file: Path) -> None:
    assert not heads(file) & {*VENDORS, *(package.name for package in PACKAGES)}
    if file.relative_to(CORE).parts[0] not in SPOKEN:
        text = file.read_text(encoding="utf-8").lower()
        assert not [name for name in NAMES if name in text]


def loaded_by(code: str, path: str = "") -> set[str]:
    """The packages that a fresh interpreter loads to run `code`, beyond those that start with the interpreter itself."""
    program = f"import json, sys; before = set(sys.modules)\n{code}\n{LOADED}"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("package", PRICED, ids=lambda package: package.name)
def test_importing_prices_loads_no_vendor(package: Path) -> None:
    assert not loaded_by(f"from {package.name}.pricing import PRICING", str(package.parent)) & HEAVY


@pytest.mark.parametrize(
    "package", [package for package in PACKAGES if (package / "dialect.py").exists()], ids=lambda package: package.name
)
def test_importing_a_dialect_loads_no_vendor(package: Path) -> None:
    assert not loaded_by(f"from {package.name}.dialect import DIALECT", str(package.parent)) & {
        *VENDORS,
        "pandas",
        "sklearn",
        "mlflow",
        "scipy",
    }


@pytest.mark.parametrize("package", [package for package in PACKAGES if (package / "config.py").exists()], ids=lambda package: package.name)
def test_importing_a_provider_loads_no_vendor(package: Path) -> None:
    assert not loaded_by(f"import {package.name}; {package.name}.PROVIDER", str(package.parent)) & HEAVY


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_provider_knows_no_other(package: Path) -> None:
    others = {other.name for other in PACKAGES if other != package}
    assert not [file for file in files(package) if heads(file) & others]


@pytest.mark.parametrize("start", STARTS)
def test_starting_up_loads_nothing_heavy(start: str) -> None:
    assert not loaded_by(start) & HEAVY


def test_asking_what_each_provider_can_do_loads_nothing_heavy() -> None:
    code = f"""
import mlport
from mlport import registry
for name in registry.names():
    client = mlport.connect({NOWHERE!r}.get(name, name + ":///nowhere"))
    client.provider.supports(client.config)
"""
    assert not loaded_by(code) & HEAVY


@pytest.mark.parametrize("provider", NOWHERE)
def test_a_first_submit_loads_only_what_prices_an_hour(provider: str) -> None:
    """Each process pays for what its first price loads: docs/benchmarks.md."""
    code = f"""
import mlport
from mlport import JobSpec
from mlport.spi import Facts
job = JobSpec(name="trained", entrypoint=("python", "-m", "trained"))
plan = mlport.connect({NOWHERE[provider]!r}).plan(job, Facts())
assert all(each["price"] for each in plan.facts.price["components"]), plan.facts.price
engine = {{name.removeprefix("mlport.costs.") for name in sys.modules if name.startswith("mlport.costs.")}}
assert engine <= set({OF_AN_HOUR}), engine - set({OF_AN_HOUR})
assert "mlport.tables" not in sys.modules
"""
    assert not loaded_by(code) & HEAVY


def test_the_runner_stands_alone() -> None:
    assert heads(CORE / "mlport_runner.py") <= {*sys.stdlib_module_names}


def test_the_core_needs_only_what_its_base_dependencies_bring() -> None:
    """Without any extra: what the core's start-up imports must be the standard library, itself or a base dependency."""
    base = {"mlport", "pydantic", "pydantic_core", "click", "rich", "tenacity", "pathspec"}
    rooms = [CORE, CORE / "cli", CORE / "state"]
    found = {
        file.relative_to(CORE): heads(file, at_start=True) - base - set(sys.stdlib_module_names)
        for room in rooms
        for file in room.glob("*.py")
    }
    assert not {file: names for file, names in found.items() if names}
