"""`mlport init`: a commented mlport.toml, whose profiles are written from the installed providers' own settings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli
from mlport.errors import ConflictError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from mlport.spi import Provider

HEAD = """\
# Where your machine learning runs. `mlport doctor` checks it; `mlport providers` says what each place can do.
# ${NAME} is replaced from the environment. Secrets do not belong here: they come from the vendor's own credentials.

# The profile that is used when neither -p nor MLPORT_PROFILE names one.
default = "laptop"

# What good means for this project; gates, guards and plans read it.
# [objective]
# metric = "roc_auc"
# at_least = 0.68
# p99_ms = 50
# monthly_budget = "400 USD"    # for each profile that has none of its own

# What you pay instead of list prices: discounts, negotiated rates, currency, taxes.
# [prices]
# book = "book.toml"
"""
TAIL = """\
# Each further place is one more table, such as a cloud whose extra is installed (`mlport doctor` lists them):
# [profiles.prod]
# provider = "NAME"            # an installed provider
# labels = { team = "ml" }     # on everything that is made there
# owner = "${USER}"
"""
LOCAL = "local"


@command("init", example="mlport init\nmlport init --force")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@pass_cli
def init(cli: Cli, force: bool) -> None:
    """Write a commented mlport.toml.

    It has a profile for this machine and, commented out, one for each other provider that is installed.
    """
    from mlport.config import FILE_NAME

    path = Path(cli.config or FILE_NAME)
    text = template()
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConflictError(f"{path} exists already, and stays as it is", hint="--force replaces it") from error
    cli.out.done(f"wrote {path}", file=path.absolute())


def template() -> str:
    """The text of a new mlport.toml."""
    from mlport import registry

    others = [name for name in registry.names() if name != LOCAL]
    here = [_profile("laptop", registry.load(LOCAL), active=True)] if LOCAL in registry.names() else []
    return "\n".join([HEAD, *here, *(_profile(name, registry.load(name), active=False) for name in others), TAIL])


def _profile(profile: str, provider: Provider, *, active: bool) -> str:
    mark = "" if active else "# "
    about = (inspect.getdoc(provider.config) or provider.name).splitlines()[0]
    own = (_setting(name, field) for name, field in provider.config.model_fields.items() if name != "profile")
    lines = [
        f"# {about}",
        f"{mark}[profiles.{profile}]",
        f'{mark}provider = "{provider.name}"',
        *(line for setting in own for line in setting),
    ]
    return "\n".join(lines) + "\n"


def _setting(name: str, field: FieldInfo) -> Iterator[str]:
    about = (field.description or "").strip().replace("\n", " ")
    yield f"# {name} = {_toml(None if field.is_required() else field.get_default(call_default_factory=True))}{f'    # {about}' if about else ''}"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case dict():
            return "{}"
    import json

    return json.dumps("..." if value is None else str(value))
