"""A comparison and its decision as one HTML file that can be forwarded, and the words that the terminal says too."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from mlport.drift.decisions import DEFAULT, ColumnDecision, Decision, Effect, Rule, decide
from mlport.drift.definitions import Bins, Definition, Smoothing
from mlport.drift.records import ColumnReport, Histogram, Reading, Report, Summary
from mlport.reports import pairs
from mlport.reports.blocks import Amount, Block, Cell, Chart, Fold, Page, Points, Section, Side, Table, Text

DETAILED = 250
"""Columns that get a picture and all readings; the others of a very wide table stand in the table alone."""
NAMES = 10
"""Categories in a picture; the others are put together."""
THRESHOLDS = 20
"""Thresholds that are listed; each stands with its column too."""
LONGEST = 60
"""Letters of a category's name in a table."""
MEANINGS = {
    "ks": "Kolmogorov-Smirnov: the largest gap between the distribution functions, 0 to 1",
    "wasserstein": "Wasserstein: the area between the distribution functions, in the column's own unit",
    "wasserstein_normed": "Wasserstein, divided by the reference's standard deviation",
    "js": "Jensen-Shannon divergence of the shares of the bins",
    "js_distance": "Jensen-Shannon distance: the root of the divergence",
    "psi": "Population stability index: the sum of (p - q) ln(p / q)",
    "kl": "Kullback-Leibler: the sum of p ln(p / q), p the reference's shares",
    "tv": "Total variation: half the sum of |p - q|, the share of rows that would have to move",
    "hellinger": "Hellinger distance: the root of half the sum of (√p - √q)²",
    "linf": "L-infinity: the largest |p - q|",
    "chi2": "Chi-square statistic of the counts; it grows with the rows, so its p-value is what says something",
    "missing": "How much the share of missing values changed",
    "centroid_cosine": "1 - cosine of the angle between the mean vectors",
    "centroid_euclidean": "Distance of the mean vectors",
}
LENGTHS = {"text": "lengths in characters ", "embedding": "lengths of the vectors "}
"""What the numbers of columns that are no numbers are of."""
SAMPLES = ("reference", "current")
STATUS = {"drift": "drift", "no drift": "no drift", "unknown": "not known"}
READING = (
    "The size of a change decides: a column has drifted where a reading, less the noise of samples of these sizes, is above its threshold.",
    "A p-value says how sure a change is, not how large it is; it can only hold an alarm back.",
    "Severe is what passes a threshold by two times or more, and a column that is missing, empty or of another type.",
    "What could not be read or told is “not known”, and never “no drift”.",
    "Noise is 0 for metrics whose distribution under no change is not known, such as Wasserstein's.",
    "Bins of numbers are drawn equally wide, whatever they span; a bin takes its left end, and the first and last are open.",
    "A value with bounds behind it was computed of a sketch; the exact value lies between them.",
    "p adjusted is the p-value of a column's test (Kolmogorov-Smirnov or chi-square), corrected for all columns (Benjamini and Hochberg).",
)


def html(
    report: Report,
    decision: Decision,
    *,
    title: str = "Has the data changed?",
    reference_name: str = "the reference",
    current_name: str = "the current sample",
) -> str:
    """The file's text: self-contained, without scripts.

    Raises:
        MissingExtraError: Jinja2 is not installed.

    Example:
        >>> from mlport.drift import compare
        >>> found = compare({"age": [31.0, 42.0, 58.0] * 20}, {"age": [58.0, 31.0, 42.0] * 20})
        >>> "no drift in 1 columns" in html(found, decide(found), title="Ages").lower()
        True
    """
    from mlport.reports.page import render

    return render(page(report, decision, title=title, reference_name=reference_name, current_name=current_name))


def page(report: Report, decision: Decision, *, title: str, reference_name: str, current_name: str) -> Page:
    """What the report holds."""
    return Page(title, f"{sentence(decision)}.", about(report, reference_name, current_name), sections(report, decision))


def sections(report: Report, decision: Decision, *, most: int | None = None) -> list[Section]:
    """Its parts, for a page that may hold others too; `most` columns get a picture and all readings."""
    order = ranked(decision)
    detailed = [each for each in order if each.column in report.columns][: DETAILED if most is None else most]
    left = sum(each.column in report.columns for each in order) - len(detailed)
    drifted = [block for each in detailed if each.status == "drift" for block in _opened(report, each)]
    others: list[Block] = [_folded(report, each) for each in detailed if each.status != "drift"]
    if left:
        others.append(Text(f"{left:,} more columns stand in the table alone; `mlport drift --json` has all of them.", "quiet"))
    found: tuple[tuple[str, Iterable[Block]], ...] = (
        ("In short", _summary(decision, order)),
        ("What is not known", _unknown(report, decision)),
        ("Columns that have drifted", drifted),
        ("The other columns", others),
        ("What else was found", _findings(report)),
        ("Slices", _slices(report, decision.rule)),
        ("What the numbers mean", _meanings(report, decision.rule)),
    )
    return [Section(heading, blocks) for heading, made in found if (blocks := list(made))]


# ---------------------------------------------------------------- words that the terminal says too


def sentence(decision: Decision) -> str:
    """What was decided, as the beginning of a page."""
    return decision.words[:1].upper() + decision.words[1:]


def about(report: Report, reference_name: str, current_name: str) -> str:
    """What was compared, and how."""
    from mlport import __version__

    how = "from sketches, with bounds, where a value was not computed exactly" if report.sketched else "exactly"
    return (
        f"Reference: {reference_name}, {report.rows_reference:,} rows. Current: {current_name}, {report.rows_current:,} rows. "
        f"{len(report.columns):,} columns compared, {how}, with mlport {__version__}."
    )


def ranked(decision: Decision) -> list[ColumnDecision]:
    """All columns, the worst first: drifted, then not known, then by how near they are to their thresholds."""
    others = [each for each in decision.columns if each.status != "drift"]
    return [*decision.drifted, *sorted(others, key=lambda each: (each.status != "unknown", -_nearest(each), each.column))]


def _nearest(each: ColumnDecision) -> float:
    return max((effect.ratio for effect in each.effects), default=0.0)


def status(each: ColumnDecision) -> str:
    return f"{STATUS[each.status]}, {each.severity}" if each.status == "drift" else STATUS[each.status]


def decisive(each: ColumnDecision) -> str:
    """The readings that decide, with their thresholds.

    >>> decisive(ColumnDecision("age", "drift", "severe", 1.0, [Effect("ks", 0.31, 0.02, 0.1)], []))
    'ks 0.31 above 0.1 (noise 0.02)'
    """
    return "; ".join(_effect(effect) for effect in each.effects) or "; ".join(each.reasons)


def _effect(effect: Effect) -> str:
    noise = f" (noise {effect.margin:.2g})" if effect.margin else ""
    return f"{effect.metric} {effect.value:.3g} {'above' if effect.over else 'within'} {effect.threshold:g}{noise}"


def unknown(decision: Decision) -> list[str]:
    """Each column that could not be told, and why; the column's name begins it."""
    found = []
    for each in decision.columns:
        if each.status == "unknown":
            why = "; ".join(each.reasons)
            found.append(why if why.startswith(f"{each.column}: ") else f"{each.column}: {why}")
    return found


def held_back(decision: Decision) -> list[str]:
    """Columns above a threshold that raise no alarm, and why."""
    return [f"{each.column}: {'; '.join(each.reasons)}" for each in decision.columns if each.status == "no drift" and each.reasons]


def sliced(report: Report, rule: Rule) -> dict[str, Decision]:
    """What the same rule says of each slice, about the columns and metrics that the slice has."""
    return {name: decide(part, _narrowed(rule, part)) for name, part in report.slices.items()}


def _narrowed(rule: Rule, part: Report) -> Rule:
    columns = {*part.columns, *(finding.column for finding in part.findings)}
    metrics = {metric for column in part.columns.values() for metric in column.readings}
    kept = {
        key: value
        for key, value in rule.thresholds.items()
        if (key if isinstance(key, str) else key[1]) in metrics and (isinstance(key, str) or key[0] in columns)
    }
    importance = {name: value for name, value in rule.importance.items() if name in columns}
    return replace(rule, thresholds=rule.thresholds if rule.thresholds == DEFAULT else kept, importance=importance)


# ---------------------------------------------------------------- sections


def _summary(decision: Decision, order: Sequence[ColumnDecision]) -> Iterator[Block]:
    weighed = bool(decision.rule.importance)
    if weighed and decision.drifted:
        yield Text(f"The columns that have drifted carry {decision.share:.1%} of the importance that the model gives to its columns.")
    if back := held_back(decision):
        yield Points(back, "Above a threshold, and no alarm")
    columns = ["column", "status", "what decides", "p adjusted", *(["importance"] if weighed else [])]
    rows: list[list[Cell]] = [
        [each.column, status(each), decisive(each), _p(each.p), *([Amount(each.importance, f"{each.importance:.1%}")] if weighed else [])]
        for each in order
    ]
    yield Table("All columns, the worst first", columns, rows, frozenset(columns[3:]), stack=True)


def _p(p: float | None) -> Amount | None:
    return None if p is None else Amount(p, probability(p))


def probability(p: float) -> str:
    """A p-value with two digits, never a bare 0.

    >>> probability(0.0312), probability(0.0)
    ('0.031', '< 1e-300')
    """
    return f"{p:.2g}" if p >= 1e-300 else "< 1e-300"


def _unknown(report: Report, decision: Decision) -> Iterator[Block]:
    told = unknown(decision)
    if told:
        yield Text("Of these columns nothing is said; they are not counted as unchanged.", "warning")
        yield Points(told)
    if not report.columns:
        yield Text("No column could be compared.", "warning")


def _findings(report: Report) -> Iterator[Block]:
    kinds = dict.fromkeys(finding.kind for finding in report.findings)
    for kind in kinds:
        yield Points([finding.message for finding in report.findings if finding.kind == kind], kind[:1].upper() + kind[1:])


def _slices(report: Report, rule: Rule) -> Iterator[Block]:
    if not report.slices:
        return
    yield Text("Each slice by the same rule. The sentence above is of all rows together: a slice does not change it.")
    rows: list[list[Cell]] = [
        [name, *(Amount(float(count), f"{count:,}") for count in (part.rows_reference, part.rows_current)), found.words]
        for (name, part), found in zip(report.slices.items(), sliced(report, rule).values(), strict=True)
    ]
    columns = ["slice", "rows, reference", "rows, current", "what is said"]
    yield Table("Slices", columns, rows, frozenset(columns[1:3]), stack=True)


# ---------------------------------------------------------------- one column


def _opened(report: Report, each: ColumnDecision) -> Iterator[Block]:
    yield Points([_sentence_of(text) for text in each.reasons], f"{_named(report, each)}: {status(each)}")
    yield from _details(report, each)


def _folded(report: Report, each: ColumnDecision) -> Fold:
    reasons = [Points([_sentence_of(text) for text in each.reasons])] if each.reasons else []
    return Fold(f"{_named(report, each)}: {status(each)}", [*reasons, *_details(report, each)])


def _named(report: Report, each: ColumnDecision) -> str:
    return f"{each.column} ({report.columns[each.column].kind})"


def _sentence_of(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _details(report: Report, each: ColumnDecision) -> Iterator[Block]:
    column = report.columns[each.column]
    numbers = _readings(column, each)
    if column.histogram is None:
        yield Text("There is nothing to draw: a side has no values, or more distinct ones than are kept.", "quiet")
        yield numbers
    else:
        yield Side([_drawn(column, column.histogram), numbers])
    yield Text(_sides(column), "quiet")


def _readings(column: ColumnReport, each: ColumnDecision) -> Table:
    """Those that decide first."""
    effects = {effect.metric: effect for effect in each.effects}
    order = sorted(column.readings, key=lambda name: name not in effects)
    rows: list[list[Cell]] = []
    for name in order:
        reading, effect = column.readings[name], effects.get(name)
        rows.append([name, f"{_value(reading)}{_held_against(effect)}", None if reading.p is None else probability(reading.p)])
    return Table(f"{column.name}: readings", ["metric", "value", "p"], rows, short=True)


def _held_against(effect: Effect | None) -> str:
    if effect is None:
        return ""
    return f"; threshold {effect.threshold:g}" + (f", noise {effect.margin:.2g}" if effect.margin else "")


def _value(reading: Reading) -> str:
    if reading.value is None:
        return f"none: {reading.why}" if reading.why else "none"
    bounds = "" if reading.lo is None else f" ({_number(reading.lo)} to {_number(reading.hi)})"
    return f"{_number(reading.value)}{bounds}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:,.4g}" if math.isfinite(value) and abs(value) < 1e6 else f"{value:.4g}"


def _sides(column: ColumnReport) -> str:
    unit = f" Numbers are in {column.unit}." if column.unit and " since " not in column.unit else ""
    return f"Reference: {_side(column, column.reference)}. Current: {_side(column, column.current)}.{unit}"


def _side(column: ColumnReport, side: Summary) -> str:
    """Points of time as such; their deviation is a length of time. Categories have no numbers."""
    told = [f"{side.rows:,.0f} rows", *([] if side.missing is None else [f"{side.missing:.2%} missing"])]
    if column.kind == "category":
        return ", ".join(told)
    if side.minimum is not None and side.maximum is not None:
        told.append(f"{LENGTHS.get(column.kind, '')}{_point(side.minimum, column.unit)} to {_point(side.maximum, column.unit)}")
    if side.mean is not None:
        told.append(f"mean {_point(side.mean, column.unit)}")
    if side.std is not None:
        length, since, _ = column.unit.partition(" since ")
        told.append(f"deviation {_number(side.std)}{f' {length}' if since else ''}")
    return ", ".join(told)


def _point(value: float, unit: str) -> str:
    return _edge(value, unit) if " since " in unit and math.isfinite(value) else _number(value)


def _drawn(column: ColumnReport, found: Histogram) -> Chart:
    """The two samples' shares, in a picture, in words and in a table."""
    bins, first, second = _few(found) if found.names else (_bins(found.edges, column.unit), found.reference, found.current)
    largest = max(range(len(bins)), key=lambda place: abs(second[place] - first[place]))
    text = f"The largest change is in {bins[largest]}: from {first[largest]:.1%} to {second[largest]:.1%} of the values."
    rows = [[name, f"{a:.1%}", f"{b:.1%}"] for name, a, b in zip(bins, first, second, strict=True)]
    table = Table("Share of the values", ["category" if found.names else "from, to", *SAMPLES], rows, short=True)
    title = f"{column.name}: {LENGTHS.get(column.kind, 'shares').strip()}"
    if found.names:
        return pairs.bars(title, text, SAMPLES, (first, second), bins, table)
    return pairs.columns(title, text, SAMPLES, (first, second), [_edge(edge, column.unit) for edge in found.edges], table)


def _few(found: Histogram) -> tuple[list[str], list[float], list[float]]:
    """The largest categories, and the others together."""
    names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in found.names]
    if len(names) <= NAMES + 1:
        return names, list(found.reference), list(found.current)
    rest = [sum(side[NAMES:]) for side in (found.reference, found.current)]
    return [*names[:NAMES], "(others)"], [*found.reference[:NAMES], rest[0]], [*found.current[:NAMES], rest[1]]


def _bins(edges: Sequence[float], unit: str) -> list[str]:
    """What each bin holds.

    >>> _bins([1.0, 2.5], "")
    ['below 1', '1 to 2.5', '2.5 and above']
    """
    told = [_edge(edge, unit) for edge in edges]
    if not told:
        return ["all values"]
    return [f"below {told[0]}", *(f"{a} to {b}" for a, b in pairwise(told)), f"{told[-1]} and above"]


def _edge(value: float, unit: str) -> str:
    """A number; a day or an instant where the unit says so.

    >>> _edge(15706.0, "days since 1970-01-01"), _edge(1357030800.0, "seconds since 1970-01-01 UTC")
    ('2013-01-01', '2013-01-01 09:00')
    """
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    try:
        if unit.startswith("days since"):
            return (epoch + timedelta(days=value)).date().isoformat()
        if unit.startswith("seconds since"):
            return f"{epoch + timedelta(seconds=value):%Y-%m-%d %H:%M}"
    except OverflowError:  # years that Python's calendar does not have
        return f"{value:.6g}"
    return f"{value:.6g}"


# ---------------------------------------------------------------- what everything means


def _meanings(report: Report, rule: Rule) -> Iterator[Block]:
    yield Points([*_rule(rule), *READING])
    kinds: dict[tuple[str, Definition], dict[str, None]] = {}
    for column in report.columns.values():
        for name, reading in column.readings.items():
            kinds.setdefault((name, reading.definition), {})[column.kind] = None
    rows: list[list[Cell]] = [
        [name, MEANINGS[each.metric], _base(each), _put(each.bins), _smoothed(each.smoothing), ", ".join(of)]
        for (name, each), of in sorted(kinds.items(), key=lambda pair: pair[0][0])
    ]
    if rows:
        columns = ["metric", "what it is", "base", "bins", "empty bins", "of columns of kind"]
        yield Table("Definitions", columns, rows, stack=True)
        yield Text("NaN and null are left out of every metric but “missing”, which counts them.", "quiet")


def _rule(rule: Rule) -> list[str]:
    named = [f"{key if isinstance(key, str) else '.'.join(key)} {value:g}" for key, value in rule.thresholds.items()]
    told = ", ".join(named[:THRESHOLDS]) + (
        f" and {len(named) - THRESHOLDS} more, which stand with their columns" if len(named) > THRESHOLDS else ""
    )
    noise = (
        f"The noise of a reading is what chance alone passes with probability {rule.noise:g}." if rule.noise else "No noise is taken off."
    )
    gate = f"A column's test must agree, at a false discovery rate of {rule.gate:g}." if rule.gate else "No test has to agree."
    return [f"Thresholds: {told}.", f"{noise} {gate}"]


def _base(definition: Definition) -> str | None:
    if definition.base is None:
        return None
    return "e" if definition.base == math.e else f"{definition.base:g}"


def _put(bins: Bins | None) -> str | None:
    if bins is None:
        return None
    if bins.rule == "edges":
        return f"your own edges: {', '.join(f'{edge:g}' for edge in bins.edges)}"
    count = "a number by Sturges' rule of" if bins.count is None else f"{bins.count}"
    words: Mapping[str, str] = {
        "quantiles": f"{count} bins of equal mass of the reference",
        "uniform": f"{count} bins of equal width over both",
        "categories": "each category",
    }
    return words[bins.rule]


def _smoothed(smoothing: Smoothing | None) -> str | None:
    if smoothing is None or smoothing.rule == "none":
        return None
    return f"shares are at least {smoothing.amount:g}" if smoothing.rule == "floor" else f"{smoothing.amount:g} is added to each count"
