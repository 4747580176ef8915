"""Small MLflow models, written without MLflow and loaded by it: a server of one is up in a third of what scikit-learn takes."""

from __future__ import annotations

import platform
from pathlib import Path

CONSTANT = """
def _load_pyfunc(path):
    return Constant(int(open(path).read()))

class Constant:
    def __init__(self, number):
        self._number = number

    def predict(self, rows, params=None):
        import numpy
        return numpy.full(len(rows), self._number)
"""
CLASSIFIER = """
def _load_pyfunc(path):
    return Classifier()

class Classifier:
    def predict(self, rows, params=None):
        return (rows["x0"] > 0).to_numpy().astype("int64")
"""
TENSORS = """
  inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 1]}}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'"""
COLUMNS = """
  inputs: '[{"type": "double", "name": "x0", "required": true}, {"type": "double", "name": "x1", "required": true}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'"""


def constant(folder: Path, number: int, loader: str = "model_of_tests") -> Path:
    """A model that answers one number whatever it is asked; it cannot be loaded with a `loader` that is not there."""
    return _model(folder, loader, CONSTANT, TENSORS, str(number))


def classifier(folder: Path) -> Path:
    """A model of the columns x0 and x1 that says whether x0 is positive."""
    return _model(folder, "model_of_tests", CLASSIFIER, COLUMNS, "")


def _model(folder: Path, loader: str, code: str, signature: str, data: str) -> Path:
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "model_of_tests.py").write_text(code)
    (folder / "model.txt").write_text(data)
    (folder / "MLmodel").write_text(
        f"flavors:\n  python_function:\n    loader_module: {loader}\n    code: code\n    data: model.txt\n"
        f"    python_version: {platform.python_version()}\nsignature:{signature}\n"
    )
    return folder
