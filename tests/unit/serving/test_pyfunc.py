"""Models that only MLflow itself can call: parameters, tables as answers, signatures of other types."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BODY = {"dataframe_split": {"columns": ["n", "text"], "data": [[1, "a"], [2, "b"]]}}


@pytest.fixture(scope="session")
def python_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A pyfunc model that answers a table, a series, a list, something that JSON does not have, or fails."""

    def save(answer: str) -> Path:
        folder = tmp_path_factory.mktemp("python") / "model"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mlflow.pyfunc
            import pandas as pd
            from mlflow.models import infer_signature

            class Model(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
                def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # MLflow warns of hints
                    twice = model_input["n"] * params["factor"]
                    forms = {
                        "table": lambda: pd.DataFrame({"twice": twice, "text": model_input["text"]}),
                        "series": lambda: twice.rename("twice"),
                        "list": lambda: [{"n": float(n)} for n in twice],
                        "odd": lambda: [object() for _ in twice],
                        "fails": lambda: 1 / 0,
                    }
                    return forms[answer]()  # type: ignore[no-untyped-call]

            example = pd.DataFrame({"n": [1], "text": ["a"]})
            signature = infer_signature(example, params={"factor": 2})
            mlflow.pyfunc.save_model(folder, python_model=Model(), signature=signature, pip_requirements=[])
        return folder

    return save


def test_tables_params_and_tensors(load: Any, serve: Any, python_model: Any) -> None:
    model = load(python_model("table"))
    assert (model.path, model.platform) == ("pyfunc", "mlflow_pyfunc")
    assert "mlflow.pyfunc.model" in model.why
    with serve(model) as at:
        assert at.post(BODY).json == {"predictions": [{"twice": 2, "text": "a"}, {"twice": 4, "text": "b"}]}
        assert at.post({**BODY, "params": {"factor": 5}}).json["predictions"][0]["twice"] == 5
        wrong = at.post({**BODY, "params": {"factor": "much"}})
        assert (wrong.status, "factor" in wrong.error) == (400, True)
        inputs = [
            {"name": "n", "shape": [2], "datatype": "INT64", "data": [1, 2]},
            {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
        ]
        reply = at.post({"inputs": inputs, "parameters": {"factor": 3}}, "/v2/models/model/infer")
        assert reply.json["outputs"] == [
            {"name": "twice", "shape": [2], "datatype": "INT64", "data": [3, 6]},
            {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
        ]
        missing = at.post({"inputs": inputs[:1]}, "/v2/models/model/infer")
        assert (missing.status, missing.error) == (400, "missing column 'text'")
        assert "row 1, column 'n'" in at.post({"dataframe_split": {"columns": ["n", "text"], "data": [[1, "a"], ["x", "b"]]}}).error


def test_series_and_lists_as_mlflow_shows_them(load: Any, serve: Any, python_model: Any) -> None:
    with serve(load(python_model("series"))) as at:
        assert at.post(BODY).json == {"predictions": [{"twice": 2}, {"twice": 4}]}
    with serve(load(python_model("list"))) as at:
        assert at.post(BODY).json == {"predictions": [{"n": 2.0}, {"n": 4.0}]}


def test_faults_are_the_models_and_say_so(load: Any, serve: Any, python_model: Any) -> None:
    with serve(load(python_model("odd"))) as at:
        assert "holds a object, which has no JSON form" in at.post(BODY).error
    with serve(load(python_model("fails"))) as at:
        reply = at.post(BODY)
        assert (reply.status, reply.error) == (500, "the model failed: ZeroDivisionError: division by zero")
        assert reply.json["request_id"] == reply.headers["x-request-id"]
