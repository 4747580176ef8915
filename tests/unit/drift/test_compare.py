"""Inputs of every kind, findings, slices, and errors that name what is wrong."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from mlport import drift
from mlport.drift import Bins, Definition
from mlport.errors import NotFoundError, UsageError

RANDOM = np.random.default_rng(0)
A = pa.table({"x": RANDOM.normal(0, 1, 300), "c": RANDOM.choice(["a", "b"], 300), "n": RANDOM.poisson(5, 300)})
B = pa.table({"x": RANDOM.normal(1, 1, 200), "c": RANDOM.choice(["a", "b", "new"], 200), "n": RANDOM.poisson(6, 200)})


def inputs(folder: Path) -> dict[str, Any]:
    polars = pytest.importorskip("polars")
    pq.write_table(A, folder / "a.parquet")
    pyarrow.csv.write_csv(A, folder / "a.csv")
    (folder / "parts").mkdir()
    for at in range(3):
        pq.write_table(A.slice(at * 100, 100), folder / "parts" / f"{at}.parquet")
    return {
        "parquet": folder / "a.parquet",
        "text of a path": str(folder / "a.parquet"),
        "csv": folder / "a.csv",
        "folder": folder / "parts",
        "list": sorted((folder / "parts").iterdir()),
        "dataset": ds.dataset(folder / "a.parquet"),
        "reader": A.to_reader(),
        "pandas": A.to_pandas(),
        "polars": polars.from_arrow(A),
        "polars query": polars.from_arrow(A).lazy(),
        "mapping": {name: A[name].to_numpy(zero_copy_only=False) for name in A.column_names},
        "struct": pa.table({"x": A["x"], "c": A["c"], "n": A["n"]}).to_struct_array(),
    }


def test_every_input_gives_the_same(tmp_path: Path) -> None:
    wanted = drift.compare(A, B).to_json()
    for name, data in inputs(tmp_path).items():
        if name == "struct":
            outer = drift.compare(pa.table({"features": data}), pa.table({"features": B.to_struct_array()}))
            assert outer.column("features.x")["ks"].value == drift.compare(A, B).column("x")["ks"].value
            continue
        found = drift.compare(data, B, memory=1 << 62).to_json()
        if name == "csv":  # 15 digits of a number
            assert found["columns"][0]["readings"]["ks"]["value"] == wanted["columns"][0]["readings"]["ks"]["value"]
        else:
            assert found == wanted, name


def test_findings() -> None:
    a = pa.table({"gone": [1.0], "was": ["1"], "id": [3], "x": [0.0], "c": ["a"], "void": pa.array([None], pa.float64()), "raw": [b"x"]})
    b = pa.table(
        {"x": [5.0, np.inf], "was": [1, 2], "id": [1.5, 3.0], "c": ["b", "a"], "void": [1.0, 2.0], "new": [1, 2], "raw": [b"x", b""]}
    )
    report = drift.compare(a, b)
    found = {(finding.column, finding.kind): finding for finding in report.findings}
    assert set(found) == {
        ("gone", "missing column"), ("new", "new column"), ("was", "type changed"), ("id", "type changed"), ("raw", "not compared"),
        ("x", "range left"), ("x", "infinite values"), ("c", "new categories"), ("void", "all missing"), ("id", "range left"),
    }  # fmt: skip
    assert found["was", "type changed"].message == "was: string became int64; not compared"
    assert found["id", "type changed"].message == "id: int64 became double; compared as numbers"
    assert found["c", "new categories"].message == "c: 'b', 50.00% of the current sample"
    assert report.column("void")["missing"].value == 1.0
    assert report.column("void")["ks"].value is None
    assert report.column("void")["ks"].why == "the reference sample has no values"
    assert report.column("x")["wasserstein"].value == np.inf
    json.dumps(report.to_json(), allow_nan=False)
    with pytest.raises(NotFoundError, match="was: string became int64"):
        report.column("was")
    with pytest.raises(NotFoundError, match=r"no reading 'chi2'"):
        report.column("x")["chi2"]


def test_times_and_other_numbers() -> None:
    days = [dt.date(2013, 1, 1) + dt.timedelta(days=at) for at in range(30)]
    a = pa.table({
        "date": days, "time": [dt.datetime.combine(day, dt.time(6)) for day in days], "money": [Decimal(f"{at}.25") for at in range(30)],
        "took": [dt.timedelta(seconds=at) for at in range(30)], "small": pa.array(range(30), pa.uint8()), "big": pa.array([2**63] * 30, pa.uint64()),
        "half": pa.array(np.arange(30, dtype=np.float16)), "flag": [at % 2 == 0 for at in range(30)],
    })  # fmt: skip
    later = [day + dt.timedelta(days=3) for day in days]
    b = a.set_column(0, "date", pa.array(later)).set_column(1, "time", pa.array([dt.datetime.combine(day, dt.time(6)) for day in later]))
    report = drift.compare(a, b)
    assert report.column("date")["wasserstein"].value == 3
    assert report.column("date").unit == "days since 1970-01-01"
    assert report.column("time")["wasserstein"].value == pytest.approx(3 * 86_400)
    assert [report.column(name)["ks"].value for name in ("money", "took", "small", "big", "half")] == [0.0] * 5
    assert report.column("took").reference.maximum == 29
    assert report.column("flag").kind == "category"


def test_kinds() -> None:
    ids = [f"row {at:05d}{'x' * (at % 3)}" for at in range(2_000)]
    a, b = {"id": ids, "zip": [10, 20, 20]}, {"id": [f"{name}y" for name in ids], "zip": [20, 20, 20]}
    a["zip"], b["zip"] = a["zip"] * 700, b["zip"] * 700  # type: ignore[operator]
    a["id"], b["id"] = [*ids, *ids[:100]], [*b["id"], *b["id"][:100]]  # type: ignore[misc]
    plain = drift.compare(a, b)
    assert (plain.column("id").kind, plain.column("zip").kind) == ("text", "number")
    assert plain.column("id")["wasserstein"].value == 1.0
    named = drift.compare(a, b, kinds={"id": "category", "zip": "category"})
    assert named.column("id")["tv"].value == pytest.approx(1.0)
    assert named.column("zip")["tv"].value == pytest.approx(1 / 3)
    assert {finding.kind for finding in named.findings} == {"new categories", "vanished categories"}
    made = drift.profile(a, kinds={"zip": "category"})
    for sketched in (drift.compare(made, b), drift.compare(made, b, kinds={"zip": "category"}), drift.compare(made, b, memory=0)):
        assert sketched.column("zip")["tv"].value == pytest.approx(1 / 3)
    with pytest.raises(UsageError, match="kinds: the profile has column 'zip' as numbers"):
        drift.compare(drift.profile(a), b, kinds={"zip": "category"})


def test_a_threshold_of_a_column_that_is_gone_is_a_finding() -> None:
    report = drift.compare(A, B.drop(["n"]), thresholds={("n", "ks"): 0.1, ("x", "ks"): 0.1})
    assert [(finding.column, finding.kind) for finding in report.findings if finding.column == "n"] == [("n", "missing column")]
    assert [name for name, _ in report.beyond] == ["x"]


def test_csv_larger_than_memory(tmp_path: Path) -> None:
    for name, table in (("a", A), ("b", B)):
        pyarrow.csv.write_csv(table, tmp_path / f"{name}.csv")
    exact, sketched = (drift.compare(tmp_path / "a.csv", tmp_path / "b.csv", memory=memory) for memory in (1 << 20, 0))
    for metric in ("ks", "wasserstein", "psi"):
        lo, hi = sketched.column("x")[metric].interval or (1.0, 0.0)
        assert lo <= (exact.column("x")[metric].value or 0.0) <= hi
    assert sketched.column("c")["chi2"].value == exact.column("c")["chi2"].value


def test_embeddings_are_compared_by_norm_and_mean() -> None:
    vectors = RANDOM.normal(size=(200, 8))
    a, b = (pa.table({"e": pa.FixedSizeListArray.from_arrays(pa.array(each.ravel()), 8)}) for each in (vectors, vectors * [-1] + 0.5))
    column = drift.compare(a, b).column("e")
    mean = vectors.mean(0)
    assert column["centroid_euclidean"].value == pytest.approx(np.linalg.norm(mean - (-mean + 0.5)))
    assert column["ks"].value == pytest.approx(
        drift.compare({"n": np.linalg.norm(vectors, axis=1)}, {"n": np.linalg.norm(0.5 - vectors, axis=1)}).column("n")["ks"].value
    )
    assert column.kind == "embedding"


def test_slices_are_comparisons_of_their_own() -> None:
    a, b = (pa.table({"x": RANDOM.normal(0, 1, 400), "g": RANDOM.choice(["u", "v"], 400), "w": RANDOM.random(400)}) for _ in range(2))
    report = drift.compare(a, b, by="g", weights="w")
    assert set(report.slices) == {"g=u", "g=v"}
    assert set(report.columns) == {"x"}
    rows = [pa.compute.equal(each["g"], "v") for each in (a, b)]
    alone = drift.compare(a.filter(rows[0]).drop(["g"]), b.filter(rows[1]).drop(["g"]), weights="w")
    assert report.slices["g=v"].to_json() == alone.to_json()
    with pytest.raises(UsageError, match="by: a profile cannot be weighted or sliced"):
        drift.compare(drift.profile(a), b, by="g")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: drift.compare(folder / "none.parquet", B), "no file"),
        (lambda folder: drift.compare(folder / "a.xls", B), "no known format"),
        (lambda folder: drift.compare(folder / "torn.parquet", B), r"the reference .*torn.parquet.* cannot be read"),
        (lambda folder: drift.compare(B, folder / "torn.parquet"), r"the current sample .*torn.parquet.* cannot be read"),
        (lambda folder: drift.compare(folder / "bitten.parquet", B), r"bitten.parquet.* cannot be read"),
        (lambda folder: drift.compare(folder / "bitten.parquet", B, memory=0), r"bitten.parquet.* cannot be read"),
        (lambda folder: drift.compare(folder / "bad.csv", B), r"bad.csv.* cannot be read"),
        (lambda folder: drift.compare(3, B), "is a int, which is no table"),
        (lambda folder: drift.compare(A, B, columns=["xx"]), "no column 'xx'; did you mean 'x'"),
        (lambda folder: drift.compare(A, B, metrics=["kss"]), "no metric 'kss'; did you mean 'ks'"),
        (lambda folder: drift.compare(A, B, metrics=["js", Definition("js", base=10.0)]), "two metrics are called 'js'"),
        (lambda folder: drift.compare(A, B, thresholds={"pssi": 0.1}), "thresholds: there is no 'pssi'"),
        (lambda folder: drift.compare(A, B, kinds={"x": "text"}), "column 'x' cannot be 'text'"),
        (lambda folder: drift.compare(A, B, weights="c"), "weights: column 'c'"),
        (lambda folder: drift.compare(A, B, weights="x"), "negative, infinite or missing weights"),
        (lambda folder: drift.compare(A, B, by="nothing"), "no column 'nothing'"),
        (lambda folder: drift.compare(A, B, by="c", memory=0), "cannot be weighted or sliced"),
        (lambda folder: Bins("edges", None, (2.0, 1.0)), "ascending"),
        (lambda folder: Bins("quantiles", 1), "at least 2"),
        (lambda folder: Definition("js", base=1.0), "base is 1.0"),
        (lambda folder: Definition("js_distance", base=2.0, root=False), "it is a root by its definition; js is the divergence itself"),
        (lambda folder: drift.profile(A, columns=["q"]), "has no column 'q'"),
        (lambda folder: drift.compare(pa.Table.from_arrays([A["x"], A["x"]], ["x", "x"]), B), "two columns are called 'x'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, call: Any, message: str) -> None:
    (tmp_path / "a.xls").write_text("x")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    pq.write_table(A, tmp_path / "bitten.parquet", compression="gzip")
    content = bytearray((tmp_path / "bitten.parquet").read_bytes())
    content[60:900] = bytes(840)
    (tmp_path / "bitten.parquet").write_bytes(content)
    (tmp_path / "bad.csv").write_text("x,c\n1,2\n1,2,3\n")
    with pytest.raises(UsageError, match=message):
        call(tmp_path)


def test_pandas_extras() -> None:
    frame = pd.DataFrame({"x": pd.array([1, 2, None], dtype="Int64"), "c": pd.Categorical(["a", "b", None]), "s": ["p", None, "q"]})
    report = drift.compare(frame, frame.iloc[:2])
    assert {name: column.kind for name, column in report.columns.items()} == {"x": "number", "c": "category", "s": "category"}
    assert report.column("c")["missing"].value == pytest.approx(1 / 3)
    assert report.column("x").reference.missing == pytest.approx(1 / 3)


def test_importing_loads_nothing_heavy() -> None:
    code = """
import sys
import mlport.drift
assert not {"numpy", "pyarrow", "scipy", "numba", "sklearn", "pandas"} & set(sys.modules)
mlport.drift.compare({"x": [1.0, 2.0]}, {"x": [1.5]})
assert not {"scipy", "numba", "sklearn", "river"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
