"""The same rooms in each provider, files that fit a screen or three, and documents whose links lead somewhere."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import mlport
from mlport.errors import MlportError

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "sample_plugin" / "mlport_sample"
PACKAGES = [*sorted(folder for folder in (ROOT / "providers").iterdir() if (folder / "__init__.py").exists()), SAMPLE]
ROOMS = {"__init__", "config", "support", "plan", "session", "jobs", "models", "endpoints"}
PRICES = {"pricing": "mlport.pricing", "price_source": "mlport.price_sources", "dialect": "mlport.dialects"}
PRICING_ONLY = [folder for folder in PACKAGES if {file.stem for file in folder.rglob("*.py")} <= {"__init__", *PRICES}]
LONGEST = {"src": 450, "providers": 450, "tests": 520}
LONG = {
    "mlport_runner.py": "one file by design: it is copied alone to wherever a job runs",
    "spi.py": "the whole interface is one page",
    "relay.py": "one state machine, the hot path of a relayed exchange",
}
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("package", [folder for folder in PACKAGES if folder not in PRICING_ONLY], ids=lambda package: package.name)
def test_every_provider_has_the_same_rooms(package: Path) -> None:
    assert {file.stem for file in package.glob("*.py")} >= ROOMS


@pytest.mark.parametrize("package", PRICING_ONLY, ids=lambda package: package.name)
def test_a_package_that_prices_only_does_nothing_else(package: Path) -> None:
    """Its adapter is not here yet: it says so, offers no provider, and its prices are registered; it may have a dialect."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    module = importlib.import_module(package.name)
    assert "not here yet" in (module.__doc__ or "")
    assert not hasattr(module, "PROVIDER")
    assert f"{package.name}.pricing:PRICING" in points["mlport.pricing"].values()
    assert not [
        at for group, found in points.items() if group not in PRICES.values() for at in found.values() if at.startswith(package.name)
    ]


@pytest.mark.parametrize(("folder", "longest"), LONGEST.items())
def test_no_file_is_too_long(folder: str, longest: int) -> None:
    files = [file for file in (ROOT / folder).rglob("*.py") if file.name not in LONG]
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert not {file: lines for file, lines in lengths.items() if lines > longest}


def test_every_module_says_what_it_is() -> None:
    public = [file for folder in ("src", "providers") for file in (ROOT / folder).rglob("*.py")]
    assert not [
        str(file.relative_to(ROOT))
        for file in public
        if file.read_text(encoding="utf-8").strip() and not file.read_text(encoding="utf-8").startswith(('"""', "#!"))
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    assert not [
        link for link in links if link and "://" not in link and not link.startswith("mailto:") and not (document.parent / link).exists()
    ]


def test_everything_public_is_there_and_documented() -> None:
    for name in mlport.__all__:
        found = getattr(mlport, name)
        assert inspect.getdoc(found), name
    assert set(mlport.__all__) <= set(dir(mlport))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mlport.nothing  # noqa: B018


def test_every_error_is_in_the_one_tree() -> None:
    errors = importlib.import_module("mlport.errors")
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
    assert kinds
    assert all(issubclass(kind, MlportError) for kind in kinds)


def test_every_entry_point_names_something() -> None:
    for file in (ROOT / "pyproject.toml", SAMPLE.parent / "pyproject.toml"):
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        points = {
            **project.get("scripts", {}),
            **{f"{group} {name}": at for group, at_s in project["entry-points"].items() for name, at in at_s.items()},
        }
        for at in points.values():
            module, _, name = at.partition(":")
            assert not name or hasattr(importlib.import_module(module), name)
            importlib.import_module(module)


def test_no_test_folder_is_a_package() -> None:
    """Tests are imported by path (importmode importlib), so that two may have the same name."""
    assert not list((ROOT / "tests").glob("unit/**/__init__.py"))
