"""Every way a command ends badly, as one message, one exit status and, with `--json`, one document."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from mlport.errors import MlportError

FAILED, WRONG, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141
"""Exit statuses besides 0: the work failed; you asked for something impossible or wrong; Ctrl-C; `| head`. 3 is for checks."""


def report(error: BaseException, args: Sequence[str]) -> int:
    """Say what went wrong and return the exit status."""
    if os.environ.get("MLPORT_DEBUG") == "1":
        traceback.print_exception(error)
    message, hint, status, document = _describe(error)
    if wants_json(args):
        click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show(sys.stderr)
        return status
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if hint:
        click.echo(f"{click.style('hint:', bold=True)} {hint}", err=True)
    return status


def wants_json(args: Sequence[str]) -> bool:
    """Whether `--json` was given, even where the rest cannot be understood; what follows `--` is not ours."""
    return "--json" in args[: args.index("--") if "--" in args else None]


def _describe(error: BaseException) -> tuple[str, str | None, int, dict[str, Any]]:
    match error:
        case MlportError():
            return error.message, error.hint, error.exit_code, error.to_json()
        case click.ClickException():
            ctx = getattr(error, "ctx", None)
            hint = f"`{ctx.command_path} --help` shows how" if ctx else None
            return _document(error, error.format_message(), hint, error.exit_code)
        case KeyboardInterrupt():
            return _document(error, str(error) or "interrupted", None, INTERRUPTED)
        case click.Abort():
            return _document(error, "interrupted", None, INTERRUPTED)
        case OSError():
            return _document(error, f"{error.filename}: {error.strerror}" if error.filename else str(error), None, FAILED)
    hint = "this is a defect of mlport: MLPORT_DEBUG=1 shows where; please report it"
    return _document(error, f"{type(error).__name__}: {error}", hint, FAILED)


def _document(error: BaseException, message: str, hint: str | None, status: int) -> tuple[str, str | None, int, dict[str, Any]]:
    document = {"error": type(error).__name__, "retryable": False, "message": message}
    return message, hint, status, {**document, "hint": hint} if hint else document
