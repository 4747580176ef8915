"""`mlport decay`: whether a model still does what it did, by labels that came, before they came, and why."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from mlport.cli.checks import NAMES, SCALAR, SCALARS, STATUS, check_file, confidence_option, needing, report_option, seed_option, write
from mlport.cli.command import group
from mlport.cli.context import Cli, pass_cli
from mlport.cli.options import given, together
from mlport.cli.values import SPAN, TYPED_PAIR
from mlport.errors import MlportError, UsageError

if TYPE_CHECKING:
    from mlport.decay import Change, Estimate, Performance

TASKS = ("binary", "multiclass", "regression")
MAIN = ("roc_auc", "mae", "balanced_accuracy")
"""The metric that decides where none is named: the first that there is, as `performance` has it."""
SAID = {"found": "decayed", "nothing found": "steady", "unknown": "unknown"}
CHANGED = {"found": "changed", "nothing found": "no change", "unknown": "unknown"}


class Instant(click.ParamType[datetime]):
    """A time as ISO 8601; in UTC if no zone is named."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-05-01 or 2026-05-01T09:00+02:00", param, ctx)
        return found if found.tzinfo else found.replace(tzinfo=UTC)


endpoint_options = together(
    click.option("--endpoint", metavar="NAME", help="Read an endpoint's captured traffic with its labels, instead of a file."),
    click.option("--since", type=SPAN, help="With --endpoint: only this long back from now, such as 7d."),
)
answer_options = together(
    click.option("--prediction", metavar="COLUMN", help="[default: prediction]"),
    click.option("--label", metavar="COLUMN", help="[default: label]"),
    click.option("--task", type=click.Choice(TASKS), help="[default: by labels and predictions]"),
    click.option("--classes", type=SCALARS, help="The classes in the order of the probabilities, with commas between."),
    click.option("--positive", type=SCALAR, help="The class that the scores are of. [default: the larger of two numbers]"),
    click.option("--threshold", type=float, help="From which score on the positive class is predicted. [default: 0.5]"),
)
features_option = click.option(
    "--features", type=NAMES, help="The columns that the model sees, with commas between. [default: all without another role]"
)
margin_option = click.option(
    "--margin", type=float, help="How much worse is still fine, in the metric's unit. [default: 0.02, of losses 5 % of the reference]"
)


@group(
    "decay",
    example="mlport decay performance captured.parquet --reference validation.parquet\n"
    "mlport decay performance --endpoint delays --since 30d --reference 0.81",
)
def decay() -> None:
    """Whether a model still does what it did.

    A table is Parquet, CSV or Arrow, or a folder of them, with a row for each prediction. Needs `mlport[audit]`.
    """


@decay.command(
    "performance",
    example="mlport decay performance captured.parquet --reference validation.parquet\n"
    "mlport decay performance captured.parquet --reference 0.81 --metric roc_auc --every 1d --report decay.html\n"
    "mlport decay performance --endpoint delays --since 30d --reference 0.81 --json",
)
@click.argument("file", required=False)
@endpoint_options
@click.option("--reference", metavar="FILE|NUMBER", help="What it was when all was well: a table with labels, or the metric's value.")
@click.option("--metric", help="[default: roc_auc for scores of two classes, mae for numbers, else balanced_accuracy]")
@click.option("--every", type=SPAN, help="How long a window is. [default: 7d]")
@click.option("--as-of", type=Instant(), help="Leave out what came later. [default: the latest time in the table]")
@click.option("--least-coverage", type=float, help="With a lower share of labels a window is not known yet. [default: 0.5]")
@click.option("--min-rows", type=int, help="So it is with fewer labels. [default: 50]")
@margin_option
@answer_options
@click.option(
    "--scores", type=click.Choice(("probability", "ranking")), help="Whether scores are more than an order. [default: probability]"
)
@click.option("--time", metavar="COLUMN", help="When it was predicted. [default: time]")
@click.option("--labelled-at", metavar="COLUMN", help="When the label came. [default: labelled_at]")
@click.option("--identity", type=NAMES, help="Columns that tell one prediction from another. [default: provider_id,row]")
@confidence_option
@seed_option
@report_option
@pass_cli
def performance(
    cli: Cli,
    file: str | None,
    endpoint: str | None,
    since: timedelta | None,
    reference: str | None,
    page: str | None,
    **options: Any,
) -> None:
    """How good predictions were, by windows of time.

    Judged by the labels that came so far, against --reference. A window without enough labels is not known yet, and never steady.

    Exit status: 0 no window has decayed and the newest known one is steady; 3 a window has decayed; 1 neither can be told: too few labels, the
    margin within the interval, or no --reference.
    """
    check_file("--report", page, ".html")
    with needing("audit", "`mlport decay`"):
        from mlport import decay as decays
        from mlport.decay import report

        table = _table(cli, "FILE", file, endpoint, since)
        found = decays.performance(table, reference=_reference(reference), **given(**options))
        if page is not None:
            write("--report", page, report.html(found, name=file or f"endpoint {endpoint}"))
    if reference is None:
        cli.out.note("nothing was compared: --reference says what it was when all was well")
    _finish(cli, found, _performed(found), SAID)


@decay.command(
    "estimate",
    example="mlport decay estimate validation.parquet today.parquet\n"
    "mlport decay estimate validation.parquet today.parquet --metric f1 --margin 0.05 --json\n"
    "mlport decay estimate validation.parquet --endpoint delays --since 1d",
)
@click.argument("reference")
@click.argument("current", required=False)
@endpoint_options
@click.option("--metric", "metrics", multiple=True, help="A metric to estimate; repeatable. [default: all that there are]")
@margin_option
@features_option
@answer_options
@confidence_option
@seed_option
@pass_cli
def estimate(
    cli: Cli,
    reference: str,
    current: str | None,
    endpoint: str | None,
    since: timedelta | None,
    metrics: tuple[str, ...],
    margin: float | None,
    **options: Any,
) -> None:
    """What performance to expect before labels come.

    REFERENCE has predictions and labels, of rows that the model did not learn from; CURRENT has predictions. Classes by CBPE, numbers by DLE. Concept
    drift cannot be seen so: what the estimate rests on is told with it.

    Exit status: 0 no decay is to be expected; 3 some is, in a metric that was named (else in the main one); 1 it cannot be told: an assumption is violated,
    or the margin is within the interval.
    """
    with needing("audit", "`mlport decay`"):
        from mlport import decay as decays

        table = _table(cli, "CURRENT", current, endpoint, since)
        found = decays.estimate(reference, table, **given(metrics=list(metrics) or None, **options))
        status = _expected(found, metrics or [next(name for name in MAIN if name in found.metrics)], margin)
    _finish(cli, found, status, SAID)


@decay.command(
    "concept",
    example="mlport decay concept march.parquet may.parquet --label late\n"
    "mlport decay concept march.parquet may.parquet --label late --features hour,carrier --least labels=0.05 --json",
)
@click.argument("reference")
@click.argument("current")
@click.option("--label", metavar="COLUMN", help="[default: label]")
@features_option
@click.option("--task", type=click.Choice(("classification", "regression")), help="[default: by the labels]")
@click.option("--alpha", type=float, help="Adjusted p-values must be below it. [default: 0.01]")
@click.option(
    "--least",
    type=TYPED_PAIR,
    multiple=True,
    metavar="TEST=EFFECT",
    help="From which effect on a change of features, labels, loss, window or within counts; repeatable.",
)
@confidence_option
@seed_option
@pass_cli
def concept(cli: Cli, reference: str, current: str, least: tuple[tuple[str, Any], ...], **options: Any) -> None:
    """What has changed: features, labels, or what labels mean.

    Both tables have labels. A change counts where its effect is large enough and the test sure enough.

    Exit status: 0 no change beyond noise; 3 data drift, label shift or concept drift; 1 the tables hardly overlap, and nothing else was found.
    """
    with needing("audit", "`mlport decay`"):
        from mlport import decay as decays

        found = decays.concept(reference, current, **given(least=dict(least), **options))
    _finish(cli, found, _changed(found), CHANGED)


def _table(cli: Cli, argument: str, file: str | None, endpoint: str | None, since: timedelta | None) -> Any:
    """The file's name, or what the endpoint captured."""
    if (file is None) == (endpoint is None):
        raise UsageError(f"give either {argument} or --endpoint", hint="--endpoint NAME reads captured traffic with its labels")
    if endpoint is None:
        if since is not None:
            raise UsageError("--since: goes with --endpoint")
        return file
    table = cli.client.endpoints.get(endpoint).captured(since, labelled=True)
    if table.num_rows == 0:
        raise MlportError(f"nothing is known: {endpoint} captured no requests{' in that time' if since else ''}", hint="a longer --since")
    return table


def _reference(text: str | None) -> Any:
    """A number where it reads as one, else a file's name."""
    try:
        found = math.nan if text is None else float(text)
    except ValueError:
        return text
    return text if math.isnan(found) else found


def _performed(found: Performance) -> str:
    if found.decayed:
        return "found"
    return "nothing found" if found.latest is not None and found.latest.status == "steady" else "unknown"


def _expected(found: Estimate, metrics: tuple[str, ...] | list[str], margin: float | None) -> str:
    judged = {found.judgement(name, margin) for name in metrics}
    return "found" if "decayed" in judged else "nothing found" if judged == {"steady"} else "unknown"


def _changed(found: Change) -> str:
    if found.supported or any(finding.severity == "problem" for finding in found.findings):
        return "found"
    return "unknown" if any(each.status == "violated" for each in found.assumptions) else "nothing found"


def _finish(cli: Cli, found: Any, status: str, words: dict[str, str]) -> None:
    """Say it, and leave with the status."""
    if cli.out.json:
        cli.out.document({"status": words[status], **found.to_json()})
    else:
        click.echo(found.text())
    cli.ctx.exit(STATUS[status])
