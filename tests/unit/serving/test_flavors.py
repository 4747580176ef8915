"""Which way a model is called, and that the ways agree with MLflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlport.errors import UsageError
from mlport.serving.refusals import RefusedError
from mlport.serving.scoring import Scoring


def answer(model: Any, body: bytes) -> Any:
    """What the server would answer: predictions, or the refusal's status."""
    dialect = Scoring(model)
    try:
        parsed = dialect.read(body, "application/json")
        return parsed.call() if parsed.call else model.predict(parsed.rows)
    except RefusedError as refused:
        return refused.status


def mixed(saved: Any) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"hour": rng.integers(0, 24, 200), "far": rng.normal(0, 1, 200), "carrier": rng.choice(["UA", "AA"], 200)})
    transform = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["carrier"]), remainder="passthrough")
    pipeline = make_pipeline(transform, LogisticRegression()).fit(frame, frame.hour > 12)
    return saved("mixed", pipeline, input_example=frame.head(4))


def test_numbers_go_as_an_array(load: Any, linear: Any) -> None:
    model = load(linear)
    assert (model.path, model.platform) == ("ndarray", "sklearn_ndarray")
    assert "equal to pyfunc" in model.why
    assert model.predict([(1.0, 2.0, 3.0)]) == pytest.approx([30201.0])


def test_texts_go_as_a_table(load: Any, saved: Any) -> None:
    model = load(mixed(saved))
    assert model.path == "dataframe"
    body = b'{"dataframe_split": {"columns": ["carrier", "far", "hour"], "data": [["UA", 0.5, 23], ["AA", -1, 1]]}}'
    assert answer(model, body).tolist() == [True, False]


def test_predict_proba_is_honoured(load: Any, saved: Any, table: Any) -> None:
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression().fit(table, table.delay > 10)
    model = load(saved("proba", classifier, input_example=table.head(2), pyfunc_predict_fn="predict_proba"))
    assert model.path == "ndarray"
    assert model.predict([(1.0, 2.0, 3.0)]).shape == (1, 2)


def test_without_a_signature_the_estimator_tells_its_columns(load: Any, saved: Any, table: Any) -> None:
    from sklearn.linear_model import LinearRegression

    model = load(saved("plain", LinearRegression().fit(table, table.delay)))
    assert model.path == "ndarray"
    swapped = b'{"dataframe_split": {"columns": ["delay", "distance", "hour of day"], "data": [[1, 2, 3]]}}'
    with pytest.raises(ValueError, match="feature names"):  # as MLflow has it: the estimator itself refuses the order
        answer(model, swapped)


def test_array_signature(load: Any, saved: Any, table: Any) -> None:
    from sklearn.linear_model import LinearRegression

    values = table.to_numpy()
    model = load(saved("array", LinearRegression().fit(values, values @ [1, 2, 3]), input_example=values[:3]))
    assert model.path == "ndarray"
    for body in (b'{"inputs": [[1, 2, 3]]}', b'{"instances": [[1, 2, 3]]}', b'{"dataframe_split": {"data": [[1, 2, 3]]}}'):
        assert answer(model, body) == pytest.approx([14.0])


def test_a_model_whose_rows_depend_on_each_other_goes_through_pyfunc(load: Any, saved: Any, table: Any) -> None:
    from sklearn.base import BaseEstimator

    class Centred(BaseEstimator):  # type: ignore[misc]
        def predict(self, rows: Any) -> Any:
            values = np.asarray(rows, dtype=float)
            return (values - values.mean(axis=0)).sum(axis=1)

    model = load(saved("centred", Centred(), input_example=table.head(4)))
    assert model.path == "pyfunc"
    assert "beside it" in model.why


def test_a_model_that_treats_tables_differently_gets_tables(load: Any, saved: Any, table: Any) -> None:
    from sklearn.base import BaseEstimator

    class Typed(BaseEstimator):  # type: ignore[misc]
        def predict(self, rows: Any) -> Any:
            return rows["delay"].to_numpy() if hasattr(rows, "columns") else np.zeros(len(rows))

    model = load(saved("typed", Typed(), input_example=table.head(4)))
    assert model.path == "dataframe"


def test_not_a_model(tmp_path: Any, load: Any) -> None:
    with pytest.raises(UsageError, match="no MLmodel file"):
        load(tmp_path)


def test_untrusted_types_say_what_to_do(load: Any, saved: Any, table: Any) -> None:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(2).fit(table, table.delay > 10)
    good = saved(
        "skops", forest, input_example=table.head(2), serialization_format="skops", skops_trusted_types=["sklearn.tree._tree.Tree"]
    )
    described = (good / "MLmodel").read_text()
    (good / "MLmodel").write_text(described.replace("- sklearn.tree._tree.Tree", "- some.other.Type"))
    with pytest.raises(UsageError, match="serialization_format='cloudpickle'"):
        load(good)


VALUES: list[Any] = [0, -3, 1.0, 0.1, 1e300, "4", "x", None, True, 2**31, 2**53 + 1, 2**63, [1]]


@pytest.mark.parametrize("kind", ["double", "float", "long", "integer", "boolean", "string"])
def test_every_kind_of_value_gets_mlflows_answer_or_refusal(load: Any, saved: Any, kind: str) -> None:
    """The server's answer against MLflow's own scoring, over values of every JSON type and every order of columns."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from sklearn.base import BaseEstimator

    class Shows(BaseEstimator):  # type: ignore[misc]
        def predict(self, rows: Any) -> Any:
            values = rows["a"] if hasattr(rows, "columns") else np.asarray(rows)[:, 0]
            return np.array([f"{value!r}".split("(")[-1].rstrip(")") for value in values.tolist()])

    signature = ModelSignature(Schema([ColSpec(kind, "a"), ColSpec("double", "b")]))
    model = load(saved(f"shows-{kind}", Shows(), signature=signature))
    for value in VALUES:
        forms: list[Any] = [{"dataframe_split": {"columns": ["b", "a"], "data": [[1.5, value]]}}, {"instances": [{"b": 1.5, "a": value}]}]
        for body in forms:
            assert _outcome(answer, model, body) == _outcome(_mlflow, model, body), (kind, body)


def _outcome(ask: Any, model: Any, body: Any) -> Any:
    import json

    try:
        found = ask(model, json.dumps(body).encode())
    except Exception as error:  # noqa: BLE001 - what the model raises must be the same too
        return type(error).__name__
    return found if isinstance(found, int) else list(found)


def _mlflow(model: Any, body: bytes) -> Any:
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import scoring_server

    pyfunc = model.pyfunc.model
    try:
        parsed = scoring_server._parse_json_data(body, pyfunc.metadata, pyfunc.metadata.get_input_schema())
        return pyfunc.predict(parsed.data)
    except MlflowException as error:
        return error.get_http_status_code()
