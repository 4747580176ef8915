"""`mlport drift` on real files: what it says, what it writes, and its exit status, which is never 0 where something could not be told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

RANDOM = np.random.default_rng(3)
A = pa.table({"x.y": RANDOM.normal(0, 1, 2000), "c": RANDOM.choice(["a", "b"], 2000), "code": RANDOM.integers(0, 4, 2000)})
B = pa.table({"x.y": RANDOM.normal(0.5, 1, 2000), "c": RANDOM.choice(["a", "b"], 2000), "code": RANDOM.integers(0, 4, 2000)})
LISTS = pa.array([[1]] * 2000)


@pytest.fixture
def files(home: Path) -> Path:
    pq.write_table(A, home / "a.parquet")
    pq.write_table(B, home / "b.parquet")
    pq.write_table(A.append_column("l", LISTS), home / "unread.parquet")
    return home


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mlport.demo.flights import FEATURES, TARGET, months
    from mlport.demo.flights import flights as read

    folder, table = tmp_path_factory.mktemp("flights"), read()
    for name, first, last in (("train", 1, 4), ("may", 5, 5)):
        months(table, first, last)[[*FEATURES, TARGET]].to_parquet(folder / f"{name}.parquet")
    january = months(table, 1, 1)[[*FEATURES, TARGET]]
    for name, at in (("odd", 1), ("even", 0)):
        january.iloc[at::2].to_parquet(folder / f"{name}.parquet")
    return folder


def table(out: str) -> list[list[str]]:
    """The rows of the first table of a command's output, split where columns are parted."""
    lines = out.split("\n\n")[1].splitlines()
    return [[cell for cell in line.split("  ") if cell] for line in lines[1:]]


def test_the_flights_of_may_are_not_those_of_winter(mlport: Callable[..., Any], flights: Path, home: Path) -> None:
    ran = mlport("drift", str(flights / "train.parquet"), str(flights / "may.parquet"), "--report", "drift.html")
    assert ran.status == 3
    assert ran.out.startswith("Drift (severe) in 5 of 15 columns: temp, dewp, wind_dir, humid, wind_speed\n")
    assert [row[0] for row in table(ran.out)][:5] == ["temp", "dewp", "wind_dir", "humid", "wind_speed"]
    assert "new categories: dest: 'ACK', 'MVY'" in ran.out
    assert "105,475 rows" in ran.err
    page = (home / "drift.html").read_text(encoding="utf-8")
    assert "<figcaption>temp: shares</figcaption>" in page
    assert len(page) < 150_000


def test_every_other_flight_of_january_is_like_the_rest(mlport: Callable[..., Any], flights: Path) -> None:
    ran = mlport("drift", str(flights / "odd.parquet"), str(flights / "even.parquet"), "--quiet")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith("No drift in 15 columns\n")
    assert {row[2].strip() for row in table(ran.out)} == {"no drift"}


def test_json_is_one_document_with_decision_and_report(mlport: Callable[..., Any], files: Path) -> None:
    ran = mlport("drift", "a.parquet", "b.parquet", "--json")
    assert (ran.status, ran.err) == (3, "")
    assert ran.json["decision"]["status"] == "drift"
    (drifted,) = [each for each in ran.json["decision"]["columns"] if each["status"] == "drift"]
    assert drifted["column"] == "x.y"
    readings = next(each for each in ran.json["report"]["columns"] if each["name"] == "x.y")["readings"]
    assert drifted["effects"][0]["value"] == readings["ks"]["value"]
    assert "psi" in readings


def test_what_could_not_be_read_is_no_success(mlport: Callable[..., Any], files: Path) -> None:
    ran = mlport("drift", "unread.parquet", "unread.parquet")
    assert ran.status == 1
    assert ran.out.startswith("Not known in 4 columns; not known of l\n")
    assert "\nnot known\n  l: columns of type list<" in ran.out
    assert "to do: look at what is not known above" in ran.out
    assert mlport("drift", "unread.parquet", "unread.parquet", "--columns", "c,code").status == 0
    assert mlport("drift", "unread.parquet", "unread.parquet", "--json").json["decision"]["status"] == "unknown"
    pq.write_table(B.append_column("l", LISTS), files / "both.parquet")
    ran = mlport("drift", "unread.parquet", "both.parquet")
    assert ran.status == 3
    assert "Drift (moderate) in 1 of 4 columns: x.y; not known of l" in ran.out


def test_a_column_that_thresholds_fit_is_held_to_these_alone_and_any_other_to_the_defaults(mlport: Callable[..., Any], files: Path) -> None:
    def ran(*options: str) -> tuple[int, dict[str, dict[str, float]]]:
        found = mlport("drift", "a.parquet", "b.parquet", "--json", *options)
        columns = found.json["decision"]["columns"]
        return found.status, {each["column"]: {effect["metric"]: effect["threshold"] for effect in each["effects"]} for each in columns}

    number, category = {"ks": 0.1, "missing": 0.05}, {"js_distance": 0.1, "missing": 0.05}
    assert ran() == (3, {"x.y": number, "c": category, "code": number})
    assert ran("--threshold", "ks=0.9") == (0, {"x.y": {"ks": 0.9}, "c": category, "code": {"ks": 0.9}})
    assert ran("--threshold", "psi=0.1") == (3, {name: {"psi": 0.1} for name in ("x.y", "c", "code")})
    assert ran("--threshold", "x.y.ks=0.9") == (0, {"x.y": {"ks": 0.9}, "c": category, "code": number})
    status, told = ran("--threshold", "psi=0.5", "--threshold", "x.y.ks=0.1", "--threshold", "x.y.psi=0.6", "--metric", "tv")
    assert (status, told["x.y"], told["code"]) == (3, {"psi": 0.6, "ks": 0.1}, {"psi": 0.5})


def test_only_the_metrics_asked_for_and_those_that_decide(mlport: Callable[..., Any], files: Path) -> None:
    ran = mlport("drift", "a.parquet", "b.parquet", "--metric", "psi", "--metric", "tv", "--columns", "x.y", "--json")
    assert set(ran.json["report"]["columns"][0]["readings"]) == {"psi", "tv", "ks", "js_distance", "missing"}


def test_kinds_slices_weights_importance_and_no_gate(mlport: Callable[..., Any], files: Path) -> None:
    ran = mlport(
        "drift", "a.parquet", "b.parquet", "--kind", "code=category", "--by", "c", "--importance", "x.y=3", "--importance", "code=1"
    )
    assert ran.status == 3
    assert {row[0]: row[1].strip() for row in table(ran.out)} == {"x.y": "number", "code": "category"}
    assert "\nslices\n  c=" in ran.out
    assert ran.out.count(": drift (") == 2
    weighted = mlport("drift", "a.parquet", "b.parquet", "--weights", "code", "--columns", "x.y", "--gate", "0", "--json")
    assert weighted.status == 3
    assert weighted.json["decision"]["columns"][0]["p_adjusted"] is None


def test_a_saved_profile_stands_for_its_file(mlport: Callable[..., Any], files: Path) -> None:
    assert mlport("drift", "a.parquet", "a.parquet", "--save-profile", "a.profile").status == 0
    assert (files / "a.profile").stat().st_size < 100_000
    pq.write_table(A, files / "more.parquet")
    assert mlport("drift", "a.profile", "more.parquet").status == 0
    ran = mlport("drift", "a.profile", "b.parquet")
    assert ran.status == 3
    assert "from sketches" in ran.err
    refused = mlport("drift", "a.profile", "b.parquet", "--save-profile", "again.profile")
    assert refused.status == 2
    assert "a.profile is a profile already" in refused.err


def test_a_threshold_within_a_sketch_s_bounds_is_told_of_the_data_and_not_of_a_profile(mlport: Callable[..., Any], home: Path) -> None:
    for name, mean in (("one", 0.0), ("two", 0.5)):
        pq.write_table(pa.table({"x": RANDOM.normal(mean, 1, 20_000)}), home / f"{name}.parquet")
    asked = ("--noise", "0", "--gate", "0", "--metric", "ks")
    first = mlport("drift", "one.parquet", "two.parquet", "--save-profile", "one.profile", "--json", *asked)
    exact = first.json["report"]["columns"][0]["readings"]["ks"]["value"]
    sketched = mlport("drift", "one.profile", "two.parquet", "--json", *asked).json["report"]["columns"][0]["readings"]["ks"]
    assert sketched["lo"] < exact < sketched["hi"]
    for threshold, status in ((exact - 1e-9, 3), (exact + 1e-9, 0)):
        told = ("--threshold", f"ks={threshold!r}")
        ran = mlport("drift", "one.parquet", "two.parquet", "--memory", "1k", *asked, *told)
        assert ran.status == status
        assert "from sketches" in ran.err
        ran = mlport("drift", "one.profile", "two.parquet", *asked, *told)
        assert ran.status == 1
        assert "read the data again" in ran.out


def test_any_two_files(mlport: Callable[..., Any], files: Path) -> None:
    pyarrow.csv.write_csv(B, files / "b.csv")
    pyarrow.feather.write_feather(B, str(files / "b.feather"))
    (files / "parts").mkdir()
    for at in range(2):
        pq.write_table(B.slice(at * 1000, 1000), files / "parts" / f"{at}.parquet")
    told = {mlport("drift", "a.parquet", name, "--quiet").out for name in ("b.parquet", "b.csv", "b.feather", "parts")}
    assert len(told) == 1


def test_a_missing_column_is_drift(mlport: Callable[..., Any], files: Path) -> None:
    pq.write_table(A.drop_columns(["c"]), files / "less.parquet")
    ran = mlport("drift", "a.parquet", "less.parquet")
    assert ran.status == 3
    assert "missing column: c: the current sample does not have it" in ran.out
    told = mlport("drift", "a.parquet", "less.parquet", "--threshold", "c.js_distance=0.1", "--threshold", "ks=0.9")
    assert (told.status, "in 1 of 3 columns: c" in told.out) == (3, True)


def test_a_side_without_rows_is_no_success(mlport: Callable[..., Any], files: Path) -> None:
    pq.write_table(A.slice(0, 0), files / "empty.parquet")
    for sides in (("a.parquet", "empty.parquet"), ("empty.parquet", "a.parquet")):
        ran = mlport("drift", *sides)
        assert (ran.status, ran.out.startswith("Not known in 3 columns")) == (1, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "ks"], "'ks' is not of the form name=number"),
        (["--threshold", "ks=much"], "'ks=much' is not of the form name=number"),
        (["--threshold", "kss=0.1"], "'kss' was not compared"),
        (["--threshold", "z.ks=0.1"], "was not compared"),
        (["--threshold", "c.ks=0.1"], "threshold c.ks: columns of kind category have no such metric"),
        (["--threshold", "ks=-1"], "must be a number that is not negative"),
        (["--metric", "kss"], "there is no metric 'kss'; did you mean 'ks'?"),
        (["--columns", "codes"], "no column 'codes'; did you mean 'code'?"),
        (["--kind", "code=colour"], "with a kind of category, text, number, embedding"),
        (["--kind", "c=number"], "cannot be 'number'"),
        (["--importance", "codes=1"], "no column 'codes' was compared"),
        (["--noise", "1"], "noise is 1.0"),
        (["--weights", "c"], "must be of numbers"),
        (["--report", "drift.pdf"], "its name must end with .html"),
        (["--report", "nowhere/drift.html"], "there is no folder 'nowhere'"),
        (["--save-profile", "a.json"], "its name must end with .profile"),
    ],
)
def test_bad_input_is_named(mlport: Callable[..., Any], files: Path, options: list[str], message: str) -> None:
    ran = mlport("drift", "a.parquet", "b.parquet", *options)
    assert (ran.status, ran.out) == (2, "")
    assert message in ran.err
    assert not list(files.glob("*.html"))


def test_files_that_cannot_be_read_are_named(mlport: Callable[..., Any], files: Path) -> None:
    content = (files / "b.parquet").read_bytes()
    (files / "torn.parquet").write_bytes(content[: len(content) // 2])
    (files / "bad.profile").write_bytes(b"nothing")
    for name in ("torn.parquet", "absent.parquet", "bad.profile", "a.xlsx"):
        ran = mlport("drift", "a.parquet", name)
        assert (ran.status, ran.out) == (2, "")
        assert ran.err.startswith("error: ")
        assert name in ran.err or name == "bad.profile"


def test_help_loads_nothing_heavy(environment: dict[str, str]) -> None:
    heavy = ["numpy", "pyarrow", "scipy", "jinja2", "pandas", "numba", "mlport.drift.compare"]
    script = f"import json, sys\nfrom mlport.cli.main import run\nassert run(['drift', '--help']) == 0\nprint(json.dumps([each for each in {heavy} if each in sys.modules]), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stderr) == []
    assert "Exit status: 0 no drift; 3 drift" in done.stdout


def test_without_its_packages_it_says_what_to_install(environment: dict[str, str], files: Path) -> None:
    script = (
        "import sys\nfrom mlport.cli.main import run\nsys.modules['pyarrow'] = None\nsys.exit(run(['drift', 'a.parquet', 'b.parquet']))"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "`mlport drift` needs pyarrow, which is not installed" in done.stderr
    assert "pip install 'mlport[drift]'" in done.stderr
