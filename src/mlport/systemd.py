"""The agent as a systemd service: the unit's text, and where it lies."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

SYSTEM_UNITS = Path("/etc/systemd/system")


def user_units(environ: Mapping[str, str] = os.environ) -> Path:
    """Where systemd looks for a user's own units."""
    return Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def unit_name(profile: str) -> str:
    """The unit's file name.

    >>> unit_name("laptop"), unit_name("local:///data/mlport")
    ('mlport-agent-laptop.service', 'mlport-agent-local-data-mlport.service')
    """
    return f"mlport-agent-{re.sub(r'[^A-Za-z0-9_.]+', '-', profile).strip('-') or 'default'}.service"


def unit(command: Sequence[str], *, profile: str, folder: Path, environment: Mapping[str, str], user: str | None) -> str:
    """The unit's text. `user` is whom a system service runs as; None for a user's own.

    Only the agent itself is stopped with the service: jobs and endpoints that it brought back are not its to end.
    """
    return "\n".join(
        [
            "[Unit]",
            f"Description=mlport agent of {_specifiers(profile)}: schedules, sweeps, jobs and endpoints after a reboot",
            "Wants=network-online.target",
            "After=network-online.target",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            *([f"User={user}"] if user else []),
            f"ExecStart={' '.join(_quoted(word).replace('$', '$$') for word in command)}",
            f"WorkingDirectory={_specifiers(str(folder))}",
            *(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(environment.items())),
            "Restart=always",
            "RestartSec=5",
            "KillMode=process",
            "",
            "[Install]",
            f"WantedBy={'multi-user.target' if user else 'default.target'}",
            "",
        ]
    )


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """A word as systemd reads it back: quoted, with backslashes, quotes and percent signs escaped."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{_specifiers(escaped)}"'
