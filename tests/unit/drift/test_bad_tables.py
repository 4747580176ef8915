"""Tables as they come: torn, empty, ragged, of mixed types. Each is refused by name, or told of, and never is "no drift" of what was not read."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlport import drift
from mlport.drift.decisions import Decision, Rule
from mlport.drift.judging import judged
from mlport.drift.records import Report
from mlport.errors import UsageError

ROWS = 3_000
RANDOM = np.random.default_rng(7)
A = pa.table({"x": RANDOM.normal(size=ROWS), "c": RANDOM.choice(["a", "b"], ROWS)})
CSV = "x,c\n" + "".join(f"{x},{c}\n" for x, c in zip(A["x"].to_pylist()[:500], A["c"].to_pylist()[:500], strict=True))
LATE = "x,c\n" + "1.5,a\n" * 200_000
"""Longer than the block by which pyarrow guesses the types."""
memory = pytest.mark.parametrize("memory", [1 << 30, 0], ids=["in memory", "in batches"])


def bitten() -> bytes:
    """A Parquet file whose footer is whole and whose pages are not."""
    out = pa.BufferOutputStream()
    pq.write_table(A, out, compression="gzip")
    content = bytearray(out.getvalue().to_pybytes())
    content[60:900] = bytes(840)
    return bytes(content)


def folder(path: Path, files: Sequence[pa.Table | bytes | str]) -> Path:
    """A folder of Parquet, its bytes, or CSV."""
    path.mkdir()
    for at, content in enumerate(files):
        if isinstance(content, pa.Table):
            pq.write_table(content, path / f"{at}.parquet")
        else:
            (path / f"{at}.{'csv' if isinstance(content, str) else 'parquet'}").write_bytes(
                content.encode() if isinstance(content, str) else content
            )
    return path


def without(column: str) -> pa.Table:
    return A.drop([column])


def with_x(values: object) -> pa.Table:
    return A.set_column(0, "x", values if isinstance(values, pa.Array) else pa.array(values))


def whole(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    return bytes(out.getvalue().to_pybytes())


def statuses(decision: Decision) -> dict[str, str]:
    return {each.column: each.status for each in decision.columns}


def kinds(report: Report) -> set[tuple[str, str]]:
    return {(each.column, each.kind) for each in report.findings}


@memory
@pytest.mark.parametrize(
    ("files", "named"),
    [
        ([A, whole(A)[:9_000], A], "1.parquet"),
        ([A, b"", A], "1.parquet"),
        ([A, A, bitten()], "2.parquet"),
        ([whole(A)[:-9], A], "0.parquet"),
        ([pa.Table.from_arrays([A["x"], A["x"], A["c"]], ["x", "x", "c"])], "0.parquet): two columns are called 'x'"),
        (["x,x,c\n1,2,a\n"], "multiple columns named x"),
        ([CSV, f"{CSV}1,b,7\n"], "Expected 2 columns, got 3: 1,b,7"),
        ([CSV, f"{LATE}2,b,7\n"], "1.csv cannot be read: CSV parse error: Row #200002"),
        ([f"{LATE}two,b\n"], "CSV conversion error to double: invalid value 'two'"),
        ([CSV, ""], "1.csv"),
        ([A, CSV], "1.csv"),
        ([], "there is no table in the folder"),
    ],
    ids=["torn", "no bytes", "pages", "footer", "twice", "twice, CSV", "ragged", "ragged late", "text late", "no header", "mixed", "empty"],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, memory: int, files: list[pa.Table | bytes | str], named: str) -> None:
    with pytest.raises(UsageError) as refused:
        judged(A, folder(tmp_path / "now", files), Rule(), memory=memory)
    assert named in refused.value.message
    assert "the current sample" in refused.value.message


@memory
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([A, with_x(["q"] * ROWS)], "x: double became double, and string in 1.parquet; not compared"),
        ([with_x(["1.5"] * ROWS), A], "x: double became string, and double in 1.parquet; not compared"),
        ([CSV, "x,c\nq,a\n"], "x: double became double, and string in 1.csv; not compared"),
    ],
)
def test_a_column_of_another_type_in_one_file_is_drift_of_that_column_alone(
    tmp_path: Path, memory: int, files: list[pa.Table | str], message: str
) -> None:
    now = folder(tmp_path / "now", files)
    report, decision = judged(A, now, Rule(), memory=memory)
    assert statuses(decision) == {"c": "no drift", "x": "drift"}
    assert message in [each.message for each in report.findings]
    assert judged(A, now, Rule(), memory=memory, columns=["c"])[1].status == "no drift"
    assert drift.profile(now).ignored["x"] in message
    with pytest.raises(UsageError, match=r"column 'x' is .*nothing can be weighted"):
        drift.compare(A, now, weights="x")


@memory
def test_integers_and_floats_in_one_folder_are_floats_and_what_a_file_lacks_is_missing(tmp_path: Path, memory: int) -> None:
    counts = with_x(np.arange(ROWS))
    for at, files in enumerate(([A, counts], [counts, A])):
        report = drift.compare(A, folder(tmp_path / f"united{at}", files), memory=memory)
        assert report.column("x").current.maximum == ROWS - 1
        assert report.rows_current == 2 * ROWS
    for at, files in enumerate(([A, without("x")], [without("x"), A])):
        report, decision = judged(A, folder(tmp_path / f"lacking{at}", files), Rule(), memory=memory)
        assert report.column("x")["missing"].value == 0.5
        assert statuses(decision) == {"x": "drift", "c": "no drift"}
    encoded = A.set_column(1, "c", A["c"].dictionary_encode())
    assert judged(A, folder(tmp_path / "encoded", [encoded, A]), Rule(), memory=memory)[1].status == "no drift"


@memory
@pytest.mark.parametrize("empty", [A.slice(0, 0), "x,c\n"], ids=["Parquet", "CSV"])
def test_a_side_without_rows_is_not_known(tmp_path: Path, memory: int, empty: pa.Table | str) -> None:
    nothing = folder(tmp_path / "nothing", [empty])
    for sides, who in (((A, nothing), "current sample"), ((nothing, A), "reference"), ((nothing, nothing), "reference")):
        report, decision = judged(*sides, Rule(), memory=memory)
        assert decision.status == "unknown"
        assert set(statuses(decision).values()) == {"unknown"}
        assert kinds(report) == {("x", "no rows"), ("c", "no rows")}
        assert any(f"the {who}" in each.message for each in report.findings)
    _, decision = judged(drift.profile(A), nothing, Rule(), memory=memory, again=tmp_path / "not looked for.parquet")
    assert not [reason for each in decision.columns for reason in each.reasons if "again" in reason]


@memory
def test_a_column_that_lost_all_values_is_drift_and_one_that_had_none_is_as_it_was(tmp_path: Path, memory: int) -> None:
    for at, void in enumerate((pa.array([np.nan] * ROWS), pa.nulls(ROWS, pa.float64()), pa.nulls(ROWS))):
        lost, had = folder(tmp_path / f"lost{at}", [with_x(void)]), folder(tmp_path / f"had{at}", [A])
        for sides, who in (((had, lost), "current sample"), ((lost, had), "reference")):
            report, decision = judged(*sides, Rule(), memory=memory)
            assert statuses(decision) == {"x": "drift", "c": "no drift"}
            assert f"x: every value of the {who} is missing" in [each.message for each in report.findings]
        report, decision = judged(lost, lost, Rule(), memory=memory)
        assert decision.status == "no drift"
        assert kinds(report) == {("x", "both missing")}
        assert judged(lost, lost, Rule(), memory=memory, columns=["x"], metrics=["ks"])[1].status in ("no drift", "unknown")


@memory
def test_one_class_only(tmp_path: Path, memory: int) -> None:
    one, other = (folder(tmp_path / name, [A.set_column(1, "c", pa.array([name] * ROWS))]) for name in "ab")
    same, gone = (judged(one, side, Rule(), memory=memory)[1] for side in (one, other))
    assert (same.status, statuses(gone)["c"]) == ("no drift", "drift")
    assert drift.compare(one, one, memory=memory).column("c")["chi2"].p == 1.0
    assert statuses(judged(A, one, Rule(), memory=memory)[1])["c"] == "drift"


def test_of_too_few_rows_nothing_is_known() -> None:
    assert statuses(judged(A, A.slice(0, 2), Rule())[1])["x"] == "unknown"
    assert "of 2 rows no change, however large, is told from chance" in judged(A, A.slice(0, 2), Rule())[1].columns[0].reasons[0]
    assert statuses(judged(A, A.slice(0, 40), Rule())[1])["x"] == "no drift"
    assert statuses(judged(A, with_x(A["x"].to_numpy() + 9).slice(0, 4), Rule(gate=None))[1])["x"] == "drift"


def test_a_table_without_a_column_to_compare_is_not_known(tmp_path: Path) -> None:
    lists = pa.table({"l": [[1]] * 20})
    for memory in (1 << 30, 0):
        report, decision = judged(folder(tmp_path / f"lists{memory}", [lists]), lists, Rule(), memory=memory)
        assert (decision.status, report.rows_reference) == ("unknown", 20)


def test_profiles_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "torn.profile").write_bytes(drift.profile(A).to_bytes()[:900])
    (tmp_path / "list.profile").write_bytes(zlib.compress(b"[]"))
    for name in ("torn", "list", "absent"):
        with pytest.raises(UsageError, match=rf"{name}\.profile"):
            drift.compare(tmp_path / f"{name}.profile", A)
