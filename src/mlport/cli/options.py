"""Groups of options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from mlport.cli.output import SHOWN
from mlport.cli.values import MEMORY, PAIR, SPAN

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]

limit_option = click.option(
    "--limit", type=click.IntRange(0), help=f"How many to show; 0 shows all. [default: {SHOWN}, or all with --json]"
)
label_option = click.option("--label", "labels", type=PAIR, multiple=True, help="A label; repeatable.")
env_option = click.option("--env", type=PAIR, multiple=True, help="An environment variable (shown in plans: not for secrets); repeatable.")
ttl_option = click.option("--ttl", type=SPAN, help="After this age `mlport cleanup` may remove it.")
key_option = click.option("--key", help="With a key, however often it is asked, it is done once.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Print the plan and the exact request; send nothing.")
last_option = click.option("--last", type=SPAN, help="Only this long back from now, such as 1h.")
set_option = click.option(
    "--set",
    "sets",
    type=PAIR,
    multiple=True,
    metavar="FIELD=VALUE",
    help="Replace a field of the file, such as params.max_depth=8; repeatable.",
)


def together(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Several options as one decorator, shown in the order given."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


compute_options = together(
    click.option("--cpus", type=float, help="Virtual CPUs a node."),
    click.option("--memory", "memory_gib", type=MEMORY, help="Memory a node, GiB, or such as 512MiB."),
    click.option("--gpus", type=int, help="GPUs a node."),
    click.option("--gpu", help="The kind of GPU."),
)
deployment_options = together(
    click.option(
        "--runtime", type=click.Choice(["prebuilt", "image", "build"]), help="The vendor's container, an image, or one that is built."
    ),
    click.option("--image", help="The container image to serve from."),
    click.option("--min-replicas", type=int, help="How few copies run; 0 means scale to zero."),
    click.option("--max-replicas", type=int, help="How many copies run at most."),
    env_option,
)
file_options = together(click.argument("file"), set_option, key_option, dry_run_option)
"""What a command takes that makes the thing which a file describes."""
start_options = together(
    key_option,
    dry_run_option,
    click.option("--wait/--no-wait", default=False, help="Wait for the end; fail if the job fails."),
    click.option("--follow", is_flag=True, help="Print its log while waiting."),
)


def given(**fields: Any) -> dict[str, Any]:
    """The fields that were given: not None, not an absent flag, not empty; a 0 was given."""
    return {name: value for name, value in fields.items() if value is not None and value is not False and value not in ((), {})}


def compute(*, cpus: float | None, memory_gib: float | None, gpus: int | None, gpu: str | None, **more: Any) -> dict[str, Any]:
    """`Compute` as a table of what was given."""
    return given(cpus=cpus, memory_gib=memory_gib, gpus=gpus, gpu=gpu, **more)
