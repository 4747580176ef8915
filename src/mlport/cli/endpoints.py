"""`mlport endpoints`: create, deploy, split, remove. What passes through them is in `traffic`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from mlport.cli import plans, traffic
from mlport.cli.command import group
from mlport.cli.context import Cli, goes_on, pass_cli
from mlport.cli.options import (
    compute,
    compute_options,
    deployment_options,
    dry_run_option,
    given,
    label_option,
    limit_option,
    set_option,
    ttl_option,
)
from mlport.cli.plain import record
from mlport.cli.values import SHARE
from mlport.cli.waiting import describe
from mlport.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from mlport.specs import EndpointSpec
    from mlport.spi import EndpointRecord


@group("endpoints", example="mlport endpoints create delays delays@champion\nmlport endpoints predict delays --file rows.json")
def endpoints() -> None:
    """Addresses that answer predictions."""


for _verb in (traffic.predict, traffic.label, traffic.captured, traffic.observe, traffic.batch_predict):
    endpoints.add_command(_verb)


@endpoints.command(
    "create", example="mlport endpoints create delays delays@champion --deployment blue\nmlport endpoints create endpoint.toml --dry-run"
)
@click.argument("name", metavar="NAME|FILE")
@click.argument("ref", metavar="[MODEL[:V|@ALIAS]]", required=False)
@click.option("--deployment", help="The first deployment's name. [default: v and the version]")
@click.option(
    "--auth",
    type=click.Choice(["key", "identity", "none"]),
    help="What a caller must show. [default: key, or identity where the provider has no keys]",
)
@click.option("--capture-rate", type=click.FloatRange(0, 1), help="The share of requests kept. [default: 1]")
@compute_options
@deployment_options
@label_option
@ttl_option
@set_option
@dry_run_option
@pass_cli
def create(cli: Cli, name: str, ref: str | None, sets: tuple[tuple[str, str], ...], dry_run: bool, **fields: Any) -> None:
    """Create an endpoint with its first deployment.

    From options or from FILE; waits until it answers. Its key is shown this once; later `mlport endpoints key NAME` tells it.
    """
    spec = _endpoint_spec(cli, name, ref, sets, fields)
    if dry_run:
        plans.show(cli.out, cli.client.endpoints.plan(spec))
        return
    is_new = not _exists(cli, spec.name)
    said = f"endpoint {spec.name} goes on being made: `{cli.again(f'endpoints get {spec.name}')}` shows it, `{cli.again(f'endpoints delete {spec.name}')}` removes it"
    with goes_on(said), cli.out.progress(f"endpoint {spec.name}") as update:
        made = cli.client.endpoints.create(spec, progress=lambda status: update(describe(status)))
    headers = dict(made.headers) if is_new and made.record.auth == "key" else {}
    cli.out.record({**_view(made.record), **given(headers=headers)})
    if headers:
        cli.out.note(f"callers must send these headers; keep them secret. `{cli.again(f'endpoints key {spec.name}')}` shows them again")


@endpoints.command("list", example="mlport endpoints list")
@limit_option
@pass_cli
def list_(cli: Cli, limit: int | None) -> None:
    """List endpoints."""
    found = (_view(endpoint) for endpoint in cli.client.endpoints.list())
    cli.out.table(found, ("name", "state", "url", "split", "auth", "created"), empty="no endpoints yet", limit=limit)


@endpoints.command("get", example="mlport endpoints get delays --json")
@click.argument("name")
@pass_cli
def get(cli: Cli, name: str) -> None:
    """Show an endpoint, its deployments and split."""
    cli.out.record(_view(cli.client.endpoints.get(name).record))


@endpoints.command("deploy", example="mlport endpoints deploy delays delays:4 --deployment green")
@click.argument("name")
@click.argument("ref", metavar="MODEL[:V|@ALIAS]")
@click.option("--deployment", help="The deployment's name. [default: v and the version]")
@compute_options
@deployment_options
@dry_run_option
@pass_cli
def deploy(cli: Cli, name: str, ref: str, dry_run: bool, **fields: Any) -> None:
    """Add a deployment that gets no traffic yet.

    Waits until it could answer.
    """
    from mlport.specs import DeploymentSpec

    spec = DeploymentSpec.model_validate(_deployment(cli, ref, fields))
    if dry_run:
        plans.show(cli.out, cli.client.endpoints.plan_deployment(name, spec))
        return
    endpoint = cli.client.endpoints.get(name)
    said = f"deployment {spec.deployment_name} goes on being made: `{cli.again(f'endpoints get {name}')}` shows it"
    with goes_on(said), cli.out.progress(f"deployment {spec.deployment_name}") as update:
        made = endpoint.deploy(spec, progress=lambda status: update(describe(status)))
    cli.out.record(record(made))


@endpoints.command("set-traffic", example="mlport endpoints set-traffic delays blue=90 green=10")
@click.argument("name")
@click.argument("shares", metavar="DEPLOYMENT=PERCENT...", nargs=-1, required=True, type=SHARE)
@pass_cli
def set_traffic(cli: Cli, name: str, shares: tuple[tuple[str, int], ...]) -> None:
    """Set the whole split, in integer percent.

    It must sum to 100, and who is not named gets 0.
    """
    if len(dict(shares)) < len(shares):
        raise UsageError("a deployment is named twice", hint="give each one share")
    split = cli.client.endpoints.get(name).set_traffic(dict(shares))
    cli.out.done(f"{name}: {' '.join(f'{deployment}={percent}' for deployment, percent in split.items())}", name=name, split=split)


@endpoints.command("undeploy", example="mlport endpoints undeploy delays blue")
@click.argument("name")
@click.argument("deployment")
@pass_cli
def undeploy(cli: Cli, name: str, deployment: str) -> None:
    """Remove a deployment that gets no traffic.

    An absent one is fine.
    """
    cli.client.endpoints.get(name).undeploy(deployment)
    cli.out.done(f"{name}: {deployment} is gone", name=name, deleted=deployment)


@endpoints.command("delete", example="mlport endpoints delete delays")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@pass_cli
def delete(cli: Cli, names: tuple[str, ...]) -> None:
    """Remove endpoints with all their deployments.

    An absent one is fine.
    """
    for name in names:
        with cli.out.progress(f"endpoint {name}") as update:
            update("deleting")
            cli.client.endpoints.delete(name)
    cli.out.done(f"deleted {', '.join(names)}", deleted=names)


@endpoints.command("key", example="mlport endpoints key delays\nmlport endpoints key delays --rotate")
@click.argument("name")
@click.option("--rotate", is_flag=True, help="Make a new key first.")
@pass_cli
def key(cli: Cli, name: str, rotate: bool) -> None:
    """Print the key and headers that callers must send."""
    endpoint = cli.client.endpoints.get(name)
    if rotate:
        endpoint.rotate_key()
    cli.out.record({"name": name, "url": endpoint.url, "headers": endpoint.headers})


def _view(endpoint: EndpointRecord) -> dict[str, Any]:
    return {**record(endpoint), "split": endpoint.split, "deployments": [record(deployment) for deployment in endpoint.deployments]}


def _exists(cli: Cli, name: str) -> bool:
    try:
        cli.client.endpoints.get(name)
    except NotFoundError:
        return False
    return True


def _endpoint_spec(cli: Cli, name: str, ref: str | None, sets: tuple[tuple[str, str], ...], fields: dict[str, Any]) -> EndpointSpec:
    from mlport.specs import EndpointSpec

    if name.endswith((".toml", ".json")):
        return _from_file(name, ref, sets, fields)
    if ref is None:
        raise UsageError(
            "endpoints create needs a model", hint=f"mlport endpoints create {name} MODEL[:V|@ALIAS], or a file named .toml or .json"
        )
    if sets:
        raise UsageError("--set goes with a file", hint="use the options for fields")
    rate, labels = fields.pop("capture_rate"), dict(fields.pop("labels"))
    own = given(auth=fields.pop("auth"), ttl=fields.pop("ttl"), labels=labels, capture=None if rate is None else {"rate": rate})
    return EndpointSpec.model_validate({"name": name, "deployment": _deployment(cli, ref, fields), **own})


def _from_file(file: str, ref: str | None, sets: tuple[tuple[str, str], ...], fields: dict[str, Any]) -> EndpointSpec:
    from mlport.cli import specfile

    if ref is not None or given(**fields):
        raise UsageError(
            f"{file} describes the whole endpoint", hint="change its fields with --set, such as --set deployment.compute.cpus=2"
        )
    return cast("EndpointSpec", specfile.load(file, kinds=("endpoint",), sets=sets))


def _deployment(cli: Cli, ref: str, fields: dict[str, Any]) -> dict[str, Any]:
    version = cli.client.models.get(ref)
    machine = compute(**{name: fields[name] for name in ("cpus", "memory_gib", "gpus", "gpu")})
    replicas = given(min=fields["min_replicas"], max=fields["max_replicas"])
    own = given(
        name=fields["deployment"],
        compute=machine,
        replicas=replicas,
        runtime=fields["runtime"],
        image=fields["image"],
        env=dict(fields["env"]),
    )
    return {"model": {"name": version.name, "version": version.version}, **own}
