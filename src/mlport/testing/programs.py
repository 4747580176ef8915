"""The programs that the suite runs as jobs, and the folders that hold them."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

COLUMNS = ("x0", "x1")
ROWS = [{"x0": -2.0, "x1": 0.0}, {"x0": 2.0, "x1": 0.0}, {"x0": -1.5, "x1": 1.0}, {"x0": 1.5, "x1": -1.0}]
TRUTH = [0, 1, 0, 1]  # what the model answers: whether x0 is positive

TRAIN = """
import json, os
import mlflow.sklearn, pandas
from sklearn.linear_model import LogisticRegression
x = pandas.DataFrame({"x0": [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0], "x1": [0.0, 1.0, -1.0, 1.0, -1.0, 0.0]})
y = [0, 0, 0, 1, 1, 1]
model = LogisticRegression(C=json.loads(os.environ["MLPORT_PARAMS"])["c"]).fit(x, y)
mlflow.sklearn.save_model(model, os.environ["MLPORT_OUTPUT_MODEL"], signature=mlflow.models.infer_signature(x, model.predict(x)), pip_requirements=["scikit-learn"])
with open(os.environ["MLPORT_METRICS"], "a") as metrics:
    metrics.write(json.dumps({"accuracy": model.score(x, y)}) + "\\n")
"""

TICK = """
import os, subprocess, sys, time
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, __file__, "child"])
who = sys.argv[1] if len(sys.argv) > 1 else "parent"
while True:
    os.write(1, f"tick {who}\\n".encode())
    time.sleep(0.02)
"""
"""Prints until it is ended, as does a child that it started: whole lines, for `print` may write one in pieces, between the other's."""

EVERYTHING = """
import json, os, pathlib, sys
seen = {
    "argv": sys.argv[1:],
    "params": json.loads(os.environ["MLPORT_PARAMS"]),
    "env": os.environ["SUITE_VARIABLE"],
    "rows": pathlib.Path(os.environ["MLPORT_INPUT_ROWS"]).read_text() if "MLPORT_INPUT_ROWS" in os.environ else None,
    "folder": sorted(p.name for p in pathlib.Path(os.environ["MLPORT_INPUT_FOLDER"]).iterdir()) if "MLPORT_INPUT_FOLDER" in os.environ else None,
    "helper": __import__("helper").VALUE,
    "job": os.environ["MLPORT_JOB_ID"],
}
pathlib.Path(os.environ["MLPORT_OUTPUT_MODEL"], "seen.json").write_text(json.dumps(seen))
pathlib.Path(os.environ["MLPORT_OUTPUT_PLOTS"], "deep").mkdir()
pathlib.Path(os.environ["MLPORT_OUTPUT_PLOTS"], "deep", "plot.txt").write_text("plot")
with open(os.environ["MLPORT_METRICS"], "a") as metrics:
    for step, value in enumerate([3.0, 2.0, 0.5]):
        metrics.write(json.dumps({"name": "loss", "value": value, "step": step}) + "\\n")
"""
"""Writes down what it was given; logs a metric three times; leaves two outputs."""

SCORE = """
import json, os, sys, time
x = json.loads(os.environ["MLPORT_PARAMS"])["x"]
with open(os.environ["MLPORT_METRICS"], "a", buffering=1) as metrics:
    for step in (1, 2, 3):
        metrics.write(json.dumps({"name": "score", "value": float(x * step), "step": step, "time": time.time()}) + "\\n")
    if x < 0:
        metrics.write('{"name": "score", "val')
        metrics.flush()
while x < 0:
    time.sleep(0.02)
sys.exit("x is 0" if x == 0 else 0)
"""
"""Logs x, twice x and three times x as `score`. Below 0 it then writes half a line and goes on until it is ended; at 0 it fails."""

SCHEDULED = """
import os
print("scheduled for", os.environ.get("MLPORT_SCHEDULED", "nobody knows when"))
"""
"""Tells which firing it is, where the clock is mlport's own."""

FOREVER = "import time; time.sleep(600)"


def folder_of(folder: Path, script: str) -> Path:
    """A source folder with `main.py` and a module that it can import."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(script, encoding="utf-8")
    (folder / "helper.py").write_text("VALUE = 42\n", encoding="utf-8")
    return folder


def wheel(folder: Path, name: str) -> Path:
    """A wheel of one module `name` that holds `VALUE = 42`, made without any build tool."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "VALUE = 42\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: mlport\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_hash(text)},{len(text)}\n" for path, text in files.items()) + f"{info}/RECORD,,\n"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(member, text)
    return path


def _hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
