"""`mlport providers`: the support matrix, from the capability maps that run time uses too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.command import command, unknown
from mlport.cli.context import Cli, pass_cli
from mlport.errors import ConfigError

if TYPE_CHECKING:
    from mlport.capabilities import Support, SupportMap
    from mlport.spi import Provider

VERIFIED = "last verified on a live account"


@command("providers", example="mlport providers local --details\nmlport providers --markdown")
@click.argument("names", metavar="[NAME...]", nargs=-1)
@click.option("--markdown", is_flag=True, help="As a table for a README.")
@click.option("--details", is_flag=True, help="With how, or why not.")
@pass_cli
def providers(cli: Cli, names: tuple[str, ...], markdown: bool, details: bool) -> None:
    """What each installed provider can do.

    Native: the vendor does it. Composed: mlport builds it from what the vendor has. Not yet built; or absent.
    """
    from mlport import registry

    for name in names:
        if name not in registry.names():
            unknown(name, registry.names(), f"no provider named {name!r} is installed")
    chosen = list(names) or registry.names()
    matrix = {name: _supports(registry.load(name)) for name in chosen}
    if markdown:
        click.echo("\n".join(_markdown(matrix, details=details)))
        return
    rows = _json_rows(matrix) if cli.out.json else _text_rows(matrix, details=details)
    cli.out.table(rows, ("capability", *chosen), empty="no provider is installed")


def _supports(provider: Provider) -> SupportMap:
    """Its map with the settings it has by itself; where some are required, with those left out."""
    try:
        return provider.supports(provider.config.load({}, where=provider.name))
    except ConfigError:
        return provider.supports(provider.config.model_construct())


def _rows(matrix: Mapping[str, SupportMap]) -> Iterator[tuple[str, str, dict[str, Support]]]:
    from mlport.capabilities import Capability

    for capability in Capability if matrix else ():
        yield capability.value, capability.description, {name: supports[capability] for name, supports in matrix.items()}


def _json_rows(matrix: Mapping[str, SupportMap]) -> Iterator[dict[str, Any]]:
    for name, about, cells in _rows(matrix):
        yield {
            "capability": name,
            "description": about,
            "providers": {provider: {"level": met.level, "detail": met.detail} for provider, met in cells.items()},
        }


def _text_rows(matrix: Mapping[str, SupportMap], *, details: bool) -> Iterator[dict[str, str]]:
    for name, _, cells in _rows(matrix):
        yield {"capability": name, **{provider: _text(met, details) for provider, met in cells.items()}}


def _markdown(matrix: Mapping[str, SupportMap], *, details: bool) -> Iterator[str]:
    yield _line(["you can", *matrix])
    yield _line(["---"] * (len(matrix) + 1))
    for _, about, cells in _rows(matrix):
        yield _line([about, *(_text(met, details) for met in cells.values())])
    yield _line([f"*{VERIFIED}*", *("needs none" if name == "local" else "never" for name in matrix)])


def _line(cells: Iterable[str] | Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _text(met: Support, details: bool) -> str:
    return f"{met.level.value}: {met.detail}" if details and met.detail else met.level.value
