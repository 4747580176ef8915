"""Everything that mlport made in a profile, found by its labels; and `mlport ls`, which lists it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from mlport.capabilities import Capability
from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli
from mlport.cli.failures import FAILED
from mlport.cli.plain import record
from mlport.errors import MlportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlport.client import Client


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing that mlport made. `over` says that a job has ended; `expires` comes from its time to live."""

    profile: str
    kind: str
    id: str
    state: str
    created: datetime | None = None
    over: bool = False
    expires: datetime | None = None
    owner: str | None = None


@command("ls", example="mlport ls\nmlport ls --all --json")
@click.option("--all", "everywhere", is_flag=True, help="Over all profiles of mlport.toml; exit status 1 if one cannot be reached.")
@pass_cli
def ls(cli: Cli, everywhere: bool) -> None:
    """List everything that mlport made.

    Jobs, models and endpoints.
    """
    found: list[dict[str, Any]] = []
    unreachable: list[dict[str, Any]] = []
    for profile in _profiles(cli) if everywhere else [cli.profile]:
        try:
            found += [record(thing) for thing in things(cli.open(profile))]
        except MlportError as error:
            if not everywhere:
                raise
            unreachable.append({"profile": profile, "kind": "unreachable", "error": error.message})
            cli.out.note(f"{profile} cannot be reached: {error.message}")
    rows = [*found, *unreachable] if cli.out.json else found
    cli.out.table(rows, ("profile", "kind", "id", "state", "created", "expires", "owner"), empty="mlport made nothing here yet")
    if unreachable:
        cli.ctx.exit(FAILED)


def things(client: Client) -> Iterator[Thing]:
    """Jobs, endpoints and models of one profile; nothing of a kind that its provider does not have."""
    yield from jobs(client)
    yield from endpoints(client)
    for model in client.models.list() if client.can(Capability.MODEL_REGISTER) else ():
        state = f"version {model.latest_version}" if model.latest_version else "no version"
        yield Thing(_name(client), "model", model.name, state, model.created)


def jobs(client: Client) -> Iterator[Thing]:
    """The jobs that carry mlport's label."""
    from mlport.client import LABEL

    for job in client.jobs.list(labels={LABEL: "1"}) if client.can(Capability.JOB_RUN) else ():
        yield Thing(_name(client), "job", job.id, job.state, job.created, job.state.terminal, *_stamped(job.labels))


def endpoints(client: Client) -> Iterator[Thing]:
    """The endpoints that carry mlport's label."""
    from mlport.client import LABEL

    for endpoint in client.endpoints.list() if client.can(Capability.ENDPOINT_SERVE) else ():
        if LABEL in endpoint.labels:
            yield Thing(_name(client), "endpoint", endpoint.name, endpoint.state, endpoint.created, False, *_stamped(endpoint.labels))


def _stamped(labels: Mapping[str, str]) -> tuple[datetime | None, str | None]:
    from mlport.client import EXPIRES, LABEL

    text = labels.get(f"{LABEL}_expires")
    try:
        expires = datetime.strptime(text, EXPIRES).replace(tzinfo=UTC) if text else None
    except ValueError:  # someone else's label: no time to live of ours
        expires = None
    return expires, labels.get(f"{LABEL}_owner")


def _name(client: Client) -> str:
    return client.config.profile or client.config.target


def _profiles(cli: Cli) -> list[str]:
    from pathlib import Path

    from mlport.config import find_file, read_file

    path = Path(cli.config) if cli.config else find_file()
    return list(read_file(path).profiles) if path else ["local"]
