"""What the prebuilt scikit-learn container does with a folder, as an MLflow loader, so that mlport's model server can run it.

The behaviour is that of google-cloud-aiplatform's own predictor (`aiplatform/prediction/sklearn/predictor.py`):
`model.joblib` or `model.pkl` is loaded, and predicts for `numpy.asarray(instances)`. Nothing of an MLflow model but its
pickle is looked at: columns have no names there.
"""

from __future__ import annotations

import pickle
import platform
from pathlib import Path
from typing import Any

FILES = ("model.pkl", "model.joblib")


def wrap(folder: Path) -> None:
    """Make of a folder with one of the files a model that the server takes; what MLflow had to say of it is gone."""
    described = (
        "flavors:\n  python_function:\n"
        f"    loader_module: {__name__}\n    data: .\n    env: {{}}\n    python_version: {platform.python_version()}\n"
    )
    folder.joinpath("MLmodel").write_text(described, encoding="utf-8")


class Predictor:
    """A loaded model, as MLflow calls it."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, instances: Any, params: Any = None) -> Any:
        """One prediction an instance, for an array of any shape that the model takes; instances that are objects are an array of dicts."""
        import numpy as np

        return np.asarray(self._model.predict(np.asarray(_rows(instances)))).tolist()


def _rows(instances: Any) -> Any:
    """What was sent: the server makes a table of objects, in which a NaN stands for a name that one of them has not."""
    if not hasattr(instances, "to_dict"):
        return instances
    return [{name: value for name, value in row.items() if value == value} for row in instances.to_dict("records")]


def _load_pyfunc(path: str) -> Predictor:
    """Called by MLflow."""
    folder = Path(path)
    if (joblibbed := folder / "model.joblib").exists():
        import joblib  # type: ignore[import-untyped]

        return Predictor(joblib.load(joblibbed))
    with folder.joinpath("model.pkl").open("rb") as stream:
        return Predictor(pickle.load(stream))  # noqa: S301 - what the container does, in a process of its own
