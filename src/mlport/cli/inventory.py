"""Everything that mlport made in a profile, found by its labels; and `mlport ls`, which lists it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    from mlport.client import Client
    from mlport.spi import ScheduleRecord


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing that mlport made. `over` says that a job, sweep or schedule has ended; `expires` comes from its time to live or its end."""

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

    Jobs, endpoints, sweeps, schedules, monitors and models.
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
    """Everything of one profile; nothing of a kind that its provider does not have."""
    for kind in KINDS.values():
        yield from kind(client)
    yield from monitors(client)
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


def sweeps(client: Client) -> Iterator[Thing]:
    """Sweeps; they expire as their jobs do."""
    for sweep in client.sweeps.list() if client.can(Capability.SWEEP) else ():
        yield Thing(_name(client), "sweep", sweep.id, sweep.state, sweep.began, sweep.state.terminal, *_stamped(sweep.labels))


def schedules(client: Client) -> Iterator[Thing]:
    """The schedules that carry mlport's label or token; they expire at their end, if they have one."""
    from mlport.client import LABEL
    from mlport.spi import ScheduleState

    for schedule in client.schedules.list() if client.can(Capability.SCHEDULE) else ():
        if LABEL in schedule.labels or schedule.token:
            _, owner = _stamped(schedule.labels)
            is_over = schedule.state is ScheduleState.ENDED
            yield Thing(_name(client), "schedule", schedule.name, schedule.state, schedule.created, is_over, _end(schedule), owner)


def monitors(client: Client) -> Iterator[Thing]:
    """Monitors; they last until they are deleted."""
    for monitor in client.monitors.list() if client.can(Capability.MONITOR) else ():
        yield Thing(_name(client), "monitor", monitor.name, monitor.state, monitor.created)


KINDS: Mapping[str, Callable[[Client], Iterator[Thing]]] = {
    "job": jobs,
    "endpoint": endpoints,
    "sweep": sweeps,
    "schedule": schedules,
}


def _end(schedule: ScheduleRecord) -> datetime | None:
    from mlport.scheduling.cron import Cron
    from mlport.specs import ScheduleSpec

    end = ScheduleSpec.model_validate(schedule.spec).end
    return Cron.parse(schedule.cron, schedule.time_zone).moment(end) if end else None


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
