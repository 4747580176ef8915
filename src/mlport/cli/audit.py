"""`mlport audit`: data before training, a model's errors after it, and remedies that were tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mlport.cli.checks import NAMES, SCALAR, SCALARS, STATUS, check_file, confidence_option, needing, report_option, seed_option, write
from mlport.cli.command import group
from mlport.cli.context import Cli, pass_cli
from mlport.cli.options import given, together
from mlport.cli.values import PAIR, TYPED_PAIR
from mlport.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlport.audit.records import Finding

TASKS = ("binary", "multiclass", "regression")
LEVELS = ("nominal", "ordinal", "interval", "ratio")
KINDS = ("threshold", "class weights", "resample", "algorithm", "collect")

label_option = click.option("--label", required=True, help="The column to be predicted.")
strict_option = click.option("--strict", is_flag=True, help="Leave with 3 for warnings too, and not for problems alone.")
positive_option = click.option("--positive", type=SCALAR, help="The class that counts as positive. [default: the larger of two numbers]")
cost_option = click.option(
    "--cost",
    "costs",
    type=TYPED_PAIR,
    multiple=True,
    metavar="NAME=NUMBER",
    help="What a false_positive, false_negative, true_positive or true_negative costs; repeatable.",
)
column_options = together(
    click.option("--features", type=NAMES, help="The columns that a model sees, with commas between. [default: all without another role]"),
    click.option("--ignore", type=NAMES, help="Columns to leave out, with commas between."),
)


@group(
    "audit",
    example="mlport audit dataset flights.parquet --label late\nmlport audit evaluate scored.parquet --label late --prediction score",
)
def audit() -> None:
    """Data before training, a model's errors after it.

    A FILE is a table: Parquet, CSV or Arrow, or a folder of them. Needs `mlport[audit]`.
    """


@audit.command(
    "dataset",
    example="mlport audit dataset flights.parquet --label late\n"
    "mlport audit dataset train.parquet --label late --test test.parquet --entity tailnum --time day\n"
    "mlport audit dataset all.parquet --label late --split-by part --no-label-errors --json",
)
@click.argument("file")
@label_option
@click.option("--test", metavar="FILE", help="The test split, if FILE is the training split alone.")
@click.option("--split", "others", type=PAIR, multiple=True, metavar="NAME=FILE", help="A further split, by name; repeatable.")
@click.option("--split-by", "split", metavar="COLUMN", help="Or the column that names each row's split.")
@click.option("--train", default="train", show_default=True, help="What the training split is called.")
@column_options
@click.option("--entity", type=NAMES, help="Columns of whom or what a row is about, who should be in one split only.")
@click.option("--time", metavar="COLUMN", help="The column of when: training should end before the other splits begin.")
@click.option("--annotators", type=NAMES, help="Columns with each annotator's label, to compare.")
@click.option("--level", type=click.Choice(LEVELS), help="What annotators' labels are. [default: nominal]")
@click.option("--task", type=click.Choice(("classification", "regression")), help="[default: by the labels]")
@click.option("--near/--no-near", default=True, show_default=True, help="Look for near duplicates.")
@click.option("--label-errors/--no-label-errors", default=True, show_default=True, help="Train a model to doubt labels.")
@seed_option
@strict_option
@pass_cli
def dataset(
    cli: Cli,
    file: str,
    label: str,
    test: str | None,
    others: tuple[tuple[str, str], ...],
    strict: bool,
    label_errors: bool,
    near: bool,
    **options: Any,
) -> None:
    """Look at labelled data before training.

    Classes, duplicates and near duplicates, leakage between splits, features that give the label away, labels that contradict, suspected
    label errors, columns that say nothing.

    Exit status: 0 no problem found; 3 a problem, or with --strict a warning.
    """
    splits = {**dict(others), **({"test": test} if test is not None else {})}
    if len(splits) < len(others) + (test is not None):
        raise UsageError("--split, --test: two splits have one name")
    with needing("audit", "`mlport audit`"):
        from mlport import audit as audits

        found = audits.dataset(file, label, near=near, label_errors=label_errors, **given(others=splits, **options))
    _finish(cli, found, _severity(found.findings, strict=strict))


@audit.command(
    "evaluate",
    example="mlport audit evaluate scored.parquet --label late --prediction score --by carrier --by hour\n"
    "mlport audit evaluate scored.parquet --label late --prediction score --cost false_negative=10 --cost false_positive=1 --report model.html\n"
    "mlport audit evaluate scored.parquet --label species --prediction setosa --prediction versicolor --prediction virginica --json",
)
@click.argument("file")
@label_option
@click.option(
    "--prediction",
    "predictions",
    multiple=True,
    required=True,
    metavar="COLUMN",
    help="The column of the positive class's probability, of predicted labels, of numbers, or of lists of probabilities; or, repeated, one for each class.",
)
@click.option("--by", multiple=True, metavar="COLUMN", help="A column to slice by; repeatable. [default: all other columns]")
@click.option("--task", type=click.Choice(TASKS), help="[default: by labels and predictions]")
@click.option("--classes", type=SCALARS, help="The classes in the order of the probabilities, with commas between.")
@positive_option
@click.option("--threshold", type=float, help="From which score on the positive class is predicted. [default: 0.5]")
@click.option(
    "--scores", type=click.Choice(("probability", "ranking")), help="Whether scores are more than an order. [default: probability]"
)
@cost_option
@click.option("--min-rows", type=int, help="Slices with fewer rows are left out. [default: 50]")
@confidence_option
@seed_option
@report_option
@strict_option
@pass_cli
def evaluate(
    cli: Cli, file: str, label: str, predictions: tuple[str, ...], by: tuple[str, ...], page: str | None, strict: bool, **options: Any
) -> None:
    """Judge predictions, and find where they are worst.

    Metrics with intervals beside what no skill gives, each class, confusion, calibration, costs, and every slice of the columns that is
    worse than the rest beyond noise.

    Exit status: 0 no problem found; 3 a problem (no skill beyond noise, a class that is never predicted), or with --strict a warning (a bad slice).
    """
    check_file("--report", page, ".html")
    with needing("audit", "`mlport audit`"):
        from mlport import audit as audits
        from mlport.audit import report

        truth, score, slices = _columns(file, label, predictions, by)
        found = audits.evaluate(truth, score, slices=slices, **given(**{**options, "costs": dict(options["costs"])}))
        if page is not None:
            write("--report", page, report.html(found, name=file))
    _finish(cli, found, _severity(found.findings, strict=strict))


def _columns(file: str, label: str, predictions: tuple[str, ...], by: tuple[str, ...]) -> tuple[Any, Any, Any]:
    """Labels, predictions and the columns to slice by; None where there is none left."""
    from mlport.audit.tables import frame, is_nested, needed

    table = frame(file, file)
    needed(table.columns, [label], "--label")
    needed(table.columns, predictions, "--prediction")
    score: Any = table[list(predictions)] if len(predictions) > 1 else table[predictions[0]]
    if len(predictions) == 1 and is_nested(score):
        score = [list(each) if hasattr(each, "__len__") else [] for each in score]
    chosen = needed(table.columns, by, "--by") or [name for name in table.columns if name not in (label, *predictions)]
    return table[label], score, table[chosen] if chosen else None


@audit.command(
    "advice",
    example="mlport audit advice flights.parquet --label late\n"
    'mlport audit advice flights.parquet --label late --metric average_precision --kind threshold --kind "class weights"',
)
@click.argument("file")
@label_option
@column_options
@click.option("--entity", metavar="COLUMN", help="Rows of one entity are kept in one fold.")
@positive_option
@click.option("--metric", help="What gain means. [default: balanced_accuracy, or cost with --cost]")
@cost_option
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="What to try; repeatable. [default: all]")
@click.option("--collect-by", type=NAMES, help="Columns: where the model is worst by them is tried as a place to collect rows.")
@click.option("--folds", type=int, help="[default: 5]")
@click.option("--repeats", type=int, help="[default: 2]")
@click.option("--max-rows", type=int, help="Of more rows a sample is tried. [default: 20000]")
@confidence_option
@seed_option
@pass_cli
def advice(cli: Cli, file: str, label: str, **options: Any) -> None:
    """Try remedies for skewed classes by cross-validation.

    Another threshold, class weights, resampling, other algorithms, more rows: each with its gain over logistic regression on the data as they are.

    Exit status: 0 nothing helps beyond noise; 3 something does; 1 nothing could be tried.
    """
    with needing("audit", "`mlport audit`"):
        from mlport import audit as audits

        found = audits.advice(file, label, **given(**{**options, "costs": dict(options["costs"])}))
    _finish(cli, found, "found" if found.recommended else "nothing found" if found.trials else "unknown")


@audit.command(
    "agreement",
    example="mlport audit agreement ratings.csv\nmlport audit agreement ratings.csv --annotators ann,ben,cy --level ordinal --json",
)
@click.argument("file")
@click.option("--annotators", type=NAMES, help="Their columns, with commas between. [default: all]")
@click.option("--level", type=click.Choice(LEVELS), default="nominal", show_default=True, help="What the ratings are.")
@confidence_option
@seed_option
@strict_option
@pass_cli
def agreement(cli: Cli, file: str, strict: bool, **options: Any) -> None:
    """How far annotators agree beyond chance.

    FILE has a unit a row and an annotator a column. Cohen's kappa of each pair, Fleiss' kappa, Krippendorff's alpha.

    Exit status: 0 reliable, or tentative; 3 alpha may be below 0.667, or with --strict below 0.8; 1 it could not be computed.
    """
    with needing("audit", "`mlport audit`"):
        from mlport import audit as audits

        found = audits.agreement(file, **given(**options))
    _finish(cli, found, "unknown" if found.alpha.value is None else _severity(found.findings, strict=strict))


def _severity(findings: Iterable[Finding], *, strict: bool) -> str:
    counted = ("problem", "warning") if strict else ("problem",)
    return "found" if any(finding.severity in counted for finding in findings) else "nothing found"


def _finish(cli: Cli, found: Any, status: str) -> None:
    """Say it, and leave with the status."""
    if cli.out.json:
        document: Mapping[str, Any] = {"status": status, **found.to_json()}
        cli.out.document(document)
    else:
        click.echo(found.text())
    cli.ctx.exit(STATUS[status])
