"""A client of an emulated Vertex AI, and models to register there: what the tests of its models and endpoints share.

from aids.vertex.account import account, classifier
from aids.vertex.place import emulator
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from aids.accounts import ROWS, TRUTH, Account, accounts

from mlport.emulation.server import Ready
from mlport_vertex import PROVIDER

__all__ = ["ROWS", "TRUTH", "Account"]


@pytest.fixture(scope="module")
def account(emulator: Ready) -> Iterator[Account]:
    """Opens clients of the emulator's first account."""
    yield from accounts(PROVIDER, emulator.targets["vertex"])


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """MLflow folders of one model that says whether x0 is positive: `skops`, as MLflow writes it today, and `cloudpickle`."""
    import mlflow.sklearn
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    rows = pd.DataFrame({"x0": [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0], "x1": [0.0, 1.0, -1.0, 1.0, -1.0, 0.0]})
    model = LogisticRegression().fit(rows.to_numpy(), [0, 0, 0, 1, 1, 1])
    signature = mlflow.models.infer_signature(rows, model.predict(rows.to_numpy()))
    made = {}
    for form in ("skops", "cloudpickle"):
        made[form] = tmp_path_factory.mktemp("models") / form
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.sklearn.save_model(
                model, made[form], serialization_format=form, signature=signature, pip_requirements=["scikit-learn"], input_example=None
            )
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder that is no MLflow model."""
    path = tmp_path / "model"
    (path / "deep").mkdir(parents=True)
    (path / "weights.bin").write_bytes(b"weights")
    (path / "deep" / "notes.txt").write_text("notes")
    return path
