"""Batch scoring: every format, bad rows by file and line, resuming after a kill, and an output that is whole or absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest

from mlport.batch import inputs, request, scoring
from mlport.batch.inputs import BadRowError
from mlport.batch.request import Request
from mlport.errors import ConflictError, SpecError, UsageError

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
pytestmark = pytest.mark.filterwarnings("ignore:X does not have valid feature names")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression on `a` (double) and `n` (long) that answers a + 100 n."""
    folder = tmp_path_factory.mktemp("model") / "linear"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.sklearn
        from sklearn.linear_model import LinearRegression

        rng = np.random.default_rng(1)
        frame = pd.DataFrame({"a": rng.normal(size=100), "n": rng.integers(0, 100, 100)})
        fitted = LinearRegression().fit(frame, frame.a + 100 * frame.n)
        mlflow.sklearn.save_model(fitted, folder, input_example=frame.head(3), pip_requirements=["scikit-learn"])
    return folder


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"id": [f"{i:04d}" for i in range(1000)], "n": range(1000), "a": np.arange(1000) / 8, "other": "x"})


def ask(model: Path, tmp_path: Path, **changes: Any) -> Request:
    return Request(**{"model": model, "input": str(tmp_path / "in"), "output": tmp_path / "out", "batch_rows": 100, **changes})


def run(asked: Request) -> scoring.Summary:
    return scoring.run(asked, lambda line: None)


def written(asked: Request) -> pd.DataFrame:
    found: pd.DataFrame = ds.dataset(asked.output, exclude_invalid_files=True).to_table().to_pandas()
    return found.sort_values(["file", "row"], ignore_index=True)


def write(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_every_format(model: Path, tmp_path: Path, frame: pd.DataFrame, suffix: str) -> None:
    write(frame, tmp_path / "in" / f"one{suffix}")
    asked = ask(model, tmp_path, keep=("id",))
    summary = run(asked)
    assert (summary.rows, summary.parts, summary.resumed) == (1000, 1, 0)
    found = written(asked)
    assert list(found.columns) == ["file", "row", "id", "prediction"]
    assert found.row.tolist() == list(range(1000))
    assert found.id.tolist() == frame.id.tolist()
    assert found.prediction.to_numpy() == pytest.approx((frame.a + 100 * frame.n).to_numpy())
    assert json.loads((asked.output / "_SUCCESS").read_text())["rows"] == 1000


def test_a_folder_of_several_formats_and_a_glob(model: Path, tmp_path: Path, frame: pd.DataFrame) -> None:
    for name in ("b.csv", "sub/a.parquet", "c.jsonl", "_SUCCESS", ".hidden.csv"):
        write(frame.head(10), tmp_path / "in" / name) if "." in name[1:] else (tmp_path / "in" / name).write_text("")
    assert run(ask(model, tmp_path)).rows == 30
    assert run(ask(model, tmp_path, input=str(tmp_path / "in" / "*.csv"), output=tmp_path / "globbed")).rows == 10


def test_shards_score_each_file_once(model: Path, tmp_path: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        frame.iloc[number * 10 : number * 10 + 10].to_csv(tmp_path / "in" / f"{number}.csv", index=False)
    found = []
    for shard in range(4):  # one more than there are files
        monkeypatch.setenv("SHARD", str(shard))
        asked = ask(model, tmp_path, output=tmp_path / f"out-{shard}", shard="${SHARD}", shards=4)
        assert run(asked).rows == (10 if shard < 3 else 0)
        found += [(path.name, len(pd.read_parquet(path))) for path in asked.output.glob("*.parquet")]
    assert sorted(found) == [("part-00000-00000.parquet", 10), ("part-00001-00000.parquet", 10), ("part-00002-00000.parquet", 10)]


def test_parts_are_of_a_steady_size(model: Path, tmp_path: Path, frame: pd.DataFrame) -> None:
    write(frame, tmp_path / "in" / "one.csv")
    summary = run(ask(model, tmp_path, batch_rows=7))
    assert summary.parts == -(-1000 // (7 * scoring._BATCHES_A_PART))


BAD_LINE = "id,n,a\n" + "".join(f"{i},{i},0.5\n" for i in range(300))


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("bad.csv", BAD_LINE + "x,7,far\n", r"bad.csv:302: column 'a': .*'far'"),
        ("bad.csv", BAD_LINE + "x,7\n", r"bad.csv:302: Expected 3 columns, got 2"),
        ("bad.csv", BAD_LINE + "x,,0.5\n", r"bad.csv, from row 300: column 'n' has no value 0 rows further on"),
        ("bad.jsonl", '{"n": 1, "a": 2}\n{"n": 1, "a": "far"}\n', r"bad.jsonl:2: column 'a': 'far' is not of type double"),
        ("bad.jsonl", '{"n": 1, "a": 2}\n{"n": 1}\n', r"bad.jsonl:2: column 'a' is missing"),
        ("bad.jsonl", '{"n": 1, "a": 2}\n\n[1]\n', r"bad.jsonl:3: each line must be a JSON object"),
        ("bad.jsonl", '{"n": 1, "a": 2}\n{"n"\n', r"bad.jsonl:2: not JSON"),
    ],
)
def test_bad_rows_are_named(model: Path, tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text(text)
    asked = ask(model, tmp_path)
    with pytest.raises(BadRowError, match=says):
        run(asked)
    assert not asked.output.exists()


def test_wrong_types_in_parquet_are_refused(model: Path, tmp_path: Path, frame: pd.DataFrame) -> None:
    write(frame.assign(a="1.5"), tmp_path / "in" / "one.parquet")
    with pytest.raises(BadRowError, match=r"column 'a' is .*string, and the model takes double"):
        run(ask(model, tmp_path))


def test_what_is_wrong_from_the_start_is_said_before_anything_is_scored(model: Path, tmp_path: Path, frame: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="no such file"):
        run(ask(model, tmp_path))
    write(frame, tmp_path / "in" / "a.csv")
    write(frame.drop(columns="n"), tmp_path / "in" / "b.csv")
    with pytest.raises(UsageError, match=r"b.csv: missing column 'n'"):
        run(ask(model, tmp_path))
    with pytest.raises(UsageError, match=r"keep names 'nope'"):
        run(ask(model, tmp_path, input=str(tmp_path / "in" / "a.csv"), keep=("nope",)))
    write(frame, tmp_path / "in" / "c.txt.jsonl")
    (tmp_path / "in" / "c.txt.jsonl").rename(tmp_path / "in" / "c.txt")
    with pytest.raises(UsageError, match="tells no format"):
        run(ask(model, tmp_path))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"input": "s3://bucket/x"}, "local path"),
        ({"keep": ("prediction",)}, "a column 'prediction' of its own"),
        ({"batch_rows": 0}, "batch_rows"),
        ({"batchrows": 5}, "did you mean 'batch_rows'"),
        ({"shard": 2, "shards": 2}, "shard 2 is not one of 2"),
        ({"output": "${MLPORT_NOT_SET}/x"}, "not set"),
    ],
)
def test_requests_that_cannot_work(model: Path, tmp_path: Path, changes: Any, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        ask(model, tmp_path, **changes)


def test_an_output_that_is_not_empty_is_refused(model: Path, tmp_path: Path, frame: pd.DataFrame) -> None:
    write(frame, tmp_path / "in" / "a.csv")
    asked = ask(model, tmp_path)
    asked.output.mkdir()
    (asked.output / "theirs").write_text("x")
    with pytest.raises(ConflictError, match="is not empty"):
        run(asked)
    (asked.output / "theirs").unlink()
    assert run(asked).rows == 1000


def test_the_same_request_again_finds_its_work_done(model: Path, tmp_path: Path, frame: pd.DataFrame) -> None:
    write(frame, tmp_path / "in" / "a.csv")
    asked = ask(model, tmp_path)
    first = run(asked)
    again = run(asked)
    assert (again.rows, again.parts) == (first.rows, first.parts)
    write(frame.head(5), tmp_path / "in" / "a.csv")
    with pytest.raises(ConflictError):
        run(asked)


def test_a_killed_run_goes_on_where_it_was(model: Path, tmp_path: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPORT_CHECKPOINT_DIR", str(tmp_path / "checkpoint"))
    monkeypatch.setattr(scoring, "_BATCHES_A_PART", 2)
    write(frame, tmp_path / "in" / "a.parquet")
    asked = ask(model, tmp_path)

    class Killed(BaseException):
        pass

    from mlport.batch.scorer import score

    scored: list[int] = []

    def die_at_the_sixth(*arguments: Any) -> Any:
        if len(scored) == 5:
            raise Killed
        scored.append(1)
        return score(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(scoring, "score", die_at_the_sixth)
        with pytest.raises(Killed):
            run(asked)
    assert not asked.output.exists()
    summary = run(asked)
    assert (summary.rows, summary.parts, summary.resumed) == (1000, 5, 2)
    found = written(asked)
    assert found.row.tolist() == list(range(1000))
    assert found.prediction.to_numpy() == pytest.approx((frame.a + 100 * frame.n).to_numpy())
    assert not list((tmp_path / "checkpoint").rglob("part-*"))


def test_the_command(model: Path, tmp_path: Path, frame: pd.DataFrame) -> None:
    write(frame, tmp_path / "in" / "a.csv")
    asked = {"model": str(model), "input": "${HERE}/in", "output": "${HERE}/out", "keep": ["id"]}
    (tmp_path / "request.json").write_text(json.dumps(asked))
    env = os.environ | {"HERE": str(tmp_path), "MLPORT_METRICS": str(tmp_path / "metrics.jsonl")}
    command = [sys.executable, "-m", "mlport.batch", str(tmp_path / "request.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["done"], last["rows"]) == (True, 1000)
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {metric["name"] for metric in metrics} == {"rows", "rows_per_second"}
    (tmp_path / "request.json").write_text(json.dumps({**asked, "input": "nowhere"}))
    failed = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert failed.returncode == 2
    assert "no such file" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_probabilities_are_lists(tmp_path: Path, frame: pd.DataFrame) -> None:
    import mlflow.sklearn
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = LogisticRegression().fit(frame[["a", "n"]], frame.n > 500)
        example, path = frame[["a", "n"]].head(3), tmp_path / "proba"
        mlflow.sklearn.save_model(fitted, path, input_example=example, pyfunc_predict_fn="predict_proba", pip_requirements=["scikit-learn"])
    write(frame, tmp_path / "in" / "a.parquet")
    asked = ask(path, tmp_path)
    run(asked)
    assert np.stack(written(asked).prediction.tolist()) == pytest.approx(fitted.predict_proba(frame[["a", "n"]]))


def test_importing_batch_is_light() -> None:
    program = "import sys, mlport.batch.request; sys.exit(bool({'numpy', 'pyarrow', 'pandas', 'mlflow'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_steady_batches() -> None:
    import pyarrow as pa

    parts = iter([pa.table({"a": list(range(n))}) for n in (3, 8, 1, 1)])
    assert [len(part) for part in inputs._steady(parts, 4)] == [4, 4, 4, 1]


def test_fingerprints_tell_inputs_apart(model: Path, tmp_path: Path, frame: pd.DataFrame) -> None:
    write(frame, tmp_path / "in" / "a.csv")
    asked = ask(model, tmp_path)
    before = request.fingerprint(asked, request.files(asked))
    write(frame.head(1), tmp_path / "in" / "a.csv")
    assert request.fingerprint(asked, request.files(asked)) != before
