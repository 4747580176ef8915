"""`mlport doctor`: whether everything is here that the profile needs."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from mlport import __version__
from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli
from mlport.cli.failures import FAILED
from mlport.cli.plain import record
from mlport.errors import MlportError

if TYPE_CHECKING:
    from mlport.spi import Finding

OLDEST = (3, 11)


@command("doctor", example="mlport doctor\nmlport doctor -p prod --json")
@pass_cli
def doctor(cli: Cli) -> None:
    """Check this machine, the configuration and the profile.

    Also the installed providers and their packages. Exit status 1 if something is not well.
    """
    found = list(findings(cli))
    rows = [{**record(finding), "result": "ok" if finding.ok else "FAILED"} for finding in found]
    columns = ("check", "result", "detail", "hint") if any(finding.hint for finding in found) else ("check", "result", "detail")
    cli.out.table(rows, columns, empty="nothing to check")
    if not all(finding.ok for finding in found):
        cli.ctx.exit(FAILED)


def findings(cli: Cli) -> Iterator[Finding]:
    """Everything that is looked at, in the order in which it must be well."""
    from mlport.spi import Finding

    is_new_enough = sys.version_info >= OLDEST
    about = f"{__version__} on Python {platform.python_version()} at {sys.executable}"
    yield Finding("mlport", is_new_enough, about, "" if is_new_enough else "mlport needs Python 3.11 or later")
    yield _configuration(cli)
    yield from _providers()
    try:
        client = cli.client
        yield Finding("profile", True, f"{client.config.profile or 'default'}: {client.config.target}")
        yield from client.session.doctor()
    except MlportError as error:
        yield _failed("profile", error)


def _configuration(cli: Cli) -> Finding:
    from pathlib import Path

    from mlport.config import find_file, read_file
    from mlport.spi import Finding

    path = Path(cli.config) if cli.config else find_file()
    if path is None:
        return Finding("configuration", True, "no mlport.toml from here upward: the profile is local", "`mlport init` writes one")
    try:
        profiles = read_file(path).profiles
    except MlportError as error:
        return _failed("configuration", error)
    return Finding("configuration", True, f"{path}: {', '.join(profiles) or 'no profiles'}")


def _providers() -> Iterator[Finding]:
    from mlport import registry
    from mlport.spi import Finding

    if not registry.names():
        yield Finding("providers", False, "none is installed", "install mlport itself, not only its sources: pip install mlport")
    for name in registry.names():
        check = f"provider {name}"
        try:
            missing = missing_packages(registry.load(name).extra)
        except (ImportError, MlportError) as error:
            yield Finding(check, False, f"it cannot be loaded: {error}", f"reinstall what offers the provider {name}")
            continue
        yield Finding(
            check,
            True,
            f"usable once installed: {', '.join(missing)}" if missing else "its packages are installed",
            f"pip install 'mlport[{name}]'" if missing else "",
        )


def missing_packages(extra: str) -> list[str]:
    """The packages of one of mlport's extras that are not installed; nothing where mlport itself is not installed."""
    try:
        requirements = metadata.requires("mlport") or []
    except metadata.PackageNotFoundError:
        return []
    wanted = [line for line in requirements if re.search(rf"""extra == ['"]{re.escape(extra)}['"]""", line)]
    names = [found[0] for line in wanted if (found := re.match(r"[A-Za-z0-9._-]+", line))]
    return [name for name in names if not _installed(name)]


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _failed(check: str, error: MlportError) -> Finding:
    from mlport.spi import Finding

    return Finding(check, False, error.message, error.hint or "")
