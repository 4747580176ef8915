"""`mlport drift`: whether two tables differ, and whether that matters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlport.cli import checks
from mlport.cli.command import command
from mlport.cli.context import Cli, pass_cli
from mlport.cli.failures import FAILED
from mlport.cli.options import together
from mlport.cli.values import MEMORY
from mlport.errors import UsageError

if TYPE_CHECKING:
    from mlport.cli.output import Output
    from mlport.drift.decisions import Decision, Rule
    from mlport.drift.records import Report

KINDS = ("category", "text", "number", "embedding")
WHAT_TO_DO = "look at what is not known above: correct or leave out (--columns) what cannot be read, or compare tables instead of profiles"


class Named(click.ParamType[tuple[str, float]]):
    """`name=number`; the name may have equals signs of its own."""

    name = "name=number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        name, mark, text = str(value).rpartition("=")
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not mark or not name.strip() or not math.isfinite(found):
            self.fail(f"{value!r} is not of the form name=number, such as ks=0.1", param, ctx)
        return name.strip(), found


class Kind(click.ParamType[tuple[str, str]]):
    """`column=kind`."""

    name = "column=kind"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, mark, kind = str(value).rpartition("=")
        if not mark or not name or kind not in KINDS:
            self.fail(f"{value!r} is not of the form column=kind, with a kind of {', '.join(KINDS)}", param, ctx)
        return name, kind


what_options = together(
    click.option("--columns", help="Only these columns, with commas between."),
    click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Only this metric, and those with thresholds; repeatable."),
    click.option(
        "--kind", "kinds", type=Kind(), multiple=True, metavar="COLUMN=KIND", help="Read a column as category or text; repeatable."
    ),
    click.option("--by", help="A column by whose values both tables are cut into slices, each decided too."),
    click.option("--weights", help="A column of both tables with the weight of each row."),
    click.option("--memory", type=MEMORY, help="Up to what size a table is read whole, such as 2GiB. [default: 256MiB]"),
)
rule_options = together(
    click.option(
        "--threshold",
        "thresholds",
        type=Named(),
        multiple=True,
        metavar="[COLUMN.]METRIC=VALUE",
        help="From which size on a change matters; repeatable. [default, for each column that none of them fits: ks=0.1, of categories "
        "js_distance=0.1, and missing=0.05]",
    ),
    click.option(
        "--importance",
        type=Named(),
        multiple=True,
        metavar="COLUMN=SHARE",
        help="What the model makes of a column; repeatable. What matters most is named first.",
    ),
    click.option("--noise", type=float, default=0.05, show_default=True, help="How likely chance may pass a threshold; 0 for no margin."),
    click.option("--gate", type=float, default=0.05, show_default=True, help="False discovery rate of the tests; 0 for no tests."),
)


@command(
    "drift",
    example="mlport drift train.parquet today.parquet\n"
    "mlport drift train.parquet today.parquet --threshold ks=0.2 --threshold age.psi=0.25 --report drift.html\n"
    "mlport drift train.parquet today.parquet --save-profile train.profile\n"
    "mlport drift train.profile today.csv --json",
)
@click.argument("reference")
@click.argument("current")
@what_options
@rule_options
@click.option("--report", "page", metavar="FILE.html", help="Write an HTML report too, one file with charts.")
@click.option("--save-profile", metavar="FILE.profile", help="Keep a profile of the reference, a few kB a column, to compare with later.")
@pass_cli
def drift(cli: Cli, reference: str, current: str, page: str | None, save_profile: str | None, **options: Any) -> None:
    """Whether two tables differ, and whether that matters.

    REFERENCE and CURRENT are Parquet, CSV or Arrow files, folders of them, or stored profiles. A column has drifted where the size of
    its change, less what chance may add, is above a threshold, and its test agrees.
    Metrics: ks, wasserstein, wasserstein_normed, js, js_distance, psi, kl, tv, hellinger, linf, chi2, missing, centroid_cosine,
    centroid_euclidean.

    Exit status: 0 no drift; 3 drift; 1 something could not be told, and nothing else has drifted. Slices are told and do not change it.
    """
    from mlport.drift import report as words

    for name, file, ending in (("--report", page, ".html"), ("--save-profile", save_profile, ".profile")):
        checks.check_file(name, file, ending)
    with checks.needing("drift", "`mlport drift`"):
        from mlport.drift.judging import judged

        rule, settings = _asked(**options)
        report, decision = judged(reference, current, rule, **settings)
        if save_profile is not None:
            _save_profile(reference, save_profile, settings)
    if page is not None:
        checks.write("--report", page, words.html(report, decision, reference_name=reference, current_name=current))
    if cli.out.json:
        slices = {name: each.to_json() for name, each in words.sliced(report, decision.rule).items()}
        told = {"reference": reference, "current": current, "decision": decision.to_json(), "slices": slices}
        cli.out.document({**told, "report": report.to_json()})
    else:
        _print(cli.out, words.about(report, reference, current), report, decision)
    cli.ctx.exit({"drift": checks.FOUND, "no drift": 0, "unknown": FAILED}[decision.status])


def _asked(
    *,
    columns: str | None,
    metrics: tuple[str, ...],
    kinds: tuple[tuple[str, str], ...],
    by: str | None,
    weights: str | None,
    memory: float | None,
    thresholds: tuple[tuple[str, float], ...],
    importance: tuple[tuple[str, float], ...],
    noise: float,
    gate: float,
) -> tuple[Rule, dict[str, Any]]:
    """The rule, whose thresholds are those given, and what is compared."""
    from mlport.drift.decisions import Rule
    from mlport.drift.judging import thresholds_of

    rule = Rule(thresholds_of(dict(thresholds)), noise, gate or None, dict(importance))
    settings: dict[str, Any] = {
        "columns": [name.strip() for name in columns.split(",") if name.strip()] if columns is not None else None,
        "metrics": list(metrics) or None,
        "kinds": dict(kinds),
        "by": by or (),
        "weights": weights,
    }
    return rule, settings if memory is None else {**settings, "memory": int(memory * 2**30)}


def _save_profile(reference: str, file: str, settings: Mapping[str, Any]) -> None:
    from mlport.drift import profile
    from mlport.drift.profiles import SUFFIX

    if Path(reference).suffix == SUFFIX:
        raise UsageError(f"--save-profile: {reference} is a profile already")
    profile(reference, kinds=settings["kinds"]).save(file)


def _print(out: Output, about: str, report: Report, decision: Decision) -> None:
    from mlport.drift import report as words

    click.echo(words.sentence(decision))
    out.note(about)
    rows = [
        {
            "column": each.column,
            "kind": report.columns[each.column].kind if each.column in report.columns else None,
            "status": words.STATUS[each.status],
            "severity": each.severity if each.status == "drift" else None,
            "what decides": words.decisive(each),
            "p adjusted": None if each.p is None else words.probability(each.p),
        }
        for each in words.ranked(decision)
    ]
    click.echo()
    out.table(rows, tuple(rows[0]) if rows else (), empty="no column could be compared")
    for heading, told in _lists(report, decision):
        if told:
            click.echo(f"\n{heading}")
            for text in told:
                click.echo(f"  {text}")
    if decision.status == "unknown":
        click.echo(f"\nto do: {WHAT_TO_DO}")


def _lists(report: Report, decision: Decision) -> Iterator[tuple[str, list[str]]]:
    from mlport.drift import report as words

    yield "above a threshold, and no alarm", words.held_back(decision)
    yield "found", [f"{finding.kind}: {finding.message}" for finding in report.findings]
    yield "not known", words.unknown(decision)
    yield "slices", [f"{name}: {each.words}" for name, each in words.sliced(report, decision.rule).items()]
