"""`mlport models`: the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlport.cli.command import group
from mlport.cli.context import Cli, goes_on, pass_cli
from mlport.cli.options import key_option, limit_option
from mlport.cli.plain import record
from mlport.cli.values import PAIR
from mlport.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from mlport.models import ModelVersion

REF = "NAME[:V|@ALIAS]"
reference = click.argument("ref", metavar=REF)


@group("models", example="mlport models list\nmlport models get delays@champion")
def models() -> None:
    """The registry: versions, aliases, tags, lineage."""


@models.command(
    "register",
    example="mlport models register delays --job delays-20260301-101502-4f2a --alias champion\nmlport models register delays ./model --trust",
)
@click.argument("name")
@click.argument("path", required=False)
@click.option("--job", "job_id", metavar="ID", help="Register this job's output.")
@click.option("--output", default="model", show_default=True, help="Which of the job's outputs.")
@click.option("--trust", is_flag=True, help="Loading a model runs its code: you have read what PATH holds.")
@click.option("--alias", help="Point this alias at the new version.")
@click.option("--tag", "tags", type=PAIR, multiple=True, help="A tag; repeatable.")
@click.option("--description", default="", help="What is to be known about this version.")
@key_option
@pass_cli
def register(cli: Cli, name: str, path: str | None, job_id: str | None, tags: tuple[tuple[str, str], ...], **options: Any) -> None:
    """Register the next version of a model.

    From a job's output, or from a folder or URI at PATH.
    """
    if (path is None) == (job_id is None):
        raise UsageError(
            "register needs either PATH or --job", hint="mlport models register NAME --job ID, or mlport models register NAME PATH --trust"
        )
    job = cli.client.jobs.get(job_id) if job_id else None
    with (
        cli.out.progress(f"model {name}") as update,
        goes_on(f"interrupted while registering; `{cli.again(f'models versions {name}')}` shows whether it was done"),
    ):
        update("registering")
        version = cli.client.models.register(name, path, from_job=job, tags=dict(tags), **options)
    _show(cli, version)


@models.command("list", example="mlport models list --json")
@limit_option
@pass_cli
def list_(cli: Cli, limit: int | None) -> None:
    """List registered models."""
    found = (record(model) for model in cli.client.models.list())
    cli.out.table(found, ("name", "latest_version", "aliases", "tags", "created"), empty="no models yet", limit=limit)


@models.command("versions", example="mlport models versions delays")
@click.argument("name")
@limit_option
@pass_cli
def versions(cli: Cli, name: str, limit: int | None) -> None:
    """List the versions of a model, newest first."""
    found = (record(version.record) for version in cli.client.models.versions(name))
    cli.out.table(found, ("name", "version", "aliases", "tags", "approval", "created"), empty=f"no versions of {name}", limit=limit)


@models.command("get", example="mlport models get delays@champion")
@reference
@pass_cli
def get(cli: Cli, ref: str) -> None:
    """Show one version: by number, alias, or the newest."""
    _show(cli, cli.client.models.get(ref))


@models.command("alias", example="mlport models alias delays:3 champion")
@reference
@click.argument("alias")
@pass_cli
def alias(cli: Cli, ref: str, alias: str) -> None:
    """Point ALIAS at a version; the last writer wins."""
    version = cli.client.models.get(ref)
    version.alias(alias)
    cli.out.done(f"{version.name}@{alias} is version {version.version}", name=version.name, alias=alias, version=version.version)


@models.command("drop-alias", example="mlport models drop-alias delays champion")
@click.argument("name")
@click.argument("alias")
@pass_cli
def drop_alias(cli: Cli, name: str, alias: str) -> None:
    """Remove an alias; an absent one is fine."""
    cli.client.models.drop_alias(name, alias)
    cli.out.done(f"{name}@{alias} is gone", name=name, alias=alias, version=None)


@models.command("tag", example="mlport models tag delays:3 stage=canary --remove owner")
@reference
@click.argument("tags", metavar="NAME=VALUE...", nargs=-1, type=PAIR)
@click.option("--remove", multiple=True, metavar="NAME", help="A tag to remove; repeatable.")
@pass_cli
def tag(cli: Cli, ref: str, tags: tuple[tuple[str, str], ...], remove: tuple[str, ...]) -> None:
    """Set or remove tags of a version."""
    changes: dict[str, str | None] = {**dict.fromkeys(remove), **dict(tags)}
    if not changes:
        raise UsageError("nothing to tag", hint="give NAME=VALUE, or --remove NAME")
    version = cli.client.models.get(ref)
    version.tag(**changes)
    _show(cli, cli.client.models.get(version.name, version.version))


@models.command("approve", example='mlport models approve delays:3 --reason "reviewed by Ada"')
@reference
@click.option("--reason", default="", help="Why, for the record.")
@pass_cli
def approve(cli: Cli, ref: str, reason: str) -> None:
    """Approve a version in the vendor's own workflow.

    Refused where the vendor has none.
    """
    _decide(cli, ref, reason, approved=True)


@models.command("reject", example='mlport models reject delays:3 --reason "leaks the label"')
@reference
@click.option("--reason", default="", help="Why, for the record.")
@pass_cli
def reject(cli: Cli, ref: str, reason: str) -> None:
    """Reject a version in the vendor's own workflow.

    Refused where the vendor has none.
    """
    _decide(cli, ref, reason, approved=False)


@models.command("download", example="mlport models download delays@champion ./champion")
@reference
@click.argument("destination")
@pass_cli
def download(cli: Cli, ref: str, destination: str) -> None:
    """Copy a version's files here, and verify their digest.

    DESTINATION must not exist.
    """
    version = cli.client.models.get(ref)
    path = version.download(destination)
    cli.out.done(
        f"{version.name}:{version.version} is in {path}", name=version.name, version=version.version, path=path, digest=version.digest
    )


@models.command("copy", example="mlport models copy delays@champion --to prod")
@reference
@click.option("--to", "target", metavar="NAME_OR_URL", required=True, help="The other profile.")
@pass_cli
def copy(cli: Cli, ref: str, target: str) -> None:
    """Copy a version to another profile's registry.

    With digest, lineage and tags.
    """
    version = cli.client.models.get(ref)
    with cli.out.progress(f"{version.name}:{version.version}") as update:
        update(f"copying to {target}")
        copied = cli.client.models.copy(version, to=cli.open(target))
    _show(cli, copied)


@models.command("delete", example="mlport models delete delays:3")
@reference
@pass_cli
def delete(cli: Cli, ref: str) -> None:
    """Remove one version, named by its number or alias.

    An absent one is fine.
    """
    if not {":", "@"} & set(ref):
        raise UsageError(f"which version of {ref}?", hint=f"for example {ref}:3; `{cli.again(f'models versions {ref}')}` lists them")
    try:
        cli.client.models.get(ref).delete()
    except NotFoundError as error:
        cli.out.note(f"there was none: {error.message}")
    cli.out.done(f"{ref} is gone", deleted=ref)


@models.command("lineage", example="mlport models lineage delays@champion --json")
@reference
@pass_cli
def lineage(cli: Cli, ref: str) -> None:
    """Show what made a version.

    Code, data, parameters, environment and job.
    """
    version = cli.client.models.get(ref)
    cli.out.record({"model": f"{version.name}:{version.version}", "digest": version.digest, **version.lineage})


def _show(cli: Cli, version: ModelVersion) -> None:
    """All of it as JSON; as text without its lineage, which has a verb of its own, and with its columns only counted."""
    found = record(version.record)
    columns = {side: f"{len(listed)} columns" for side, listed in (version.record.signature or {}).items() if isinstance(listed, list)}
    cli.out.record(found if cli.out.json else {**found, "lineage": None, "signature": columns})


def _decide(cli: Cli, ref: str, reason: str, *, approved: bool) -> None:
    version = cli.client.models.get(ref)
    (version.approve if approved else version.reject)(reason)
    word = "approved" if approved else "rejected"
    cli.out.done(f"{version.name}:{version.version} is {word}", name=version.name, version=version.version, approval=word)
