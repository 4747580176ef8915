"""Train a classifier of "arrives more than 15 minutes late": plain scikit-learn and MLflow, nothing of mlport.

What it is given it finds in its environment; what it writes to MLPORT_OUTPUT_MODEL is kept.
"""

import argparse
import json
import logging
import os
from pathlib import Path

import mlflow
import pandas as pd
import sklearn
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder

CATEGORIES = ["carrier", "origin", "dest"]
logging.getLogger("mlflow").setLevel(logging.ERROR)  # it warns of pickles; this one is ours


def build(options: argparse.Namespace) -> Pipeline:
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((encode, CATEGORIES), remainder="passthrough", verbose_feature_names_out=False)
    model = HistGradientBoostingClassifier(
        max_leaf_nodes=options.max_leaf_nodes, learning_rate=options.learning_rate, max_iter=options.max_iter, random_state=0
    )
    return make_pipeline(columns, model)


def log(**metrics: float) -> None:
    with Path(os.environ["MLPORT_METRICS"]).open("a") as stream:
        stream.writelines(json.dumps({"name": name, "value": float(value)}) + "\n" for name, value in metrics.items())


def read() -> pd.DataFrame:
    """The flights to learn from, and those that came since where there are any."""
    table = pd.read_parquet(os.environ["MLPORT_INPUT_FLIGHTS"]).drop(columns=["month", "time_hour"])
    recent = os.environ.get("MLPORT_INPUT_RECENT")
    return pd.concat([table, pd.read_parquet(recent)[table.columns]], ignore_index=True) if recent else table


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--max_leaf_nodes", type=int, default=31)
    parser.add_argument("--learning_rate", type=float, default=0.1)
    parser.add_argument("--max_iter", type=int, default=60)
    options = parser.parse_args()

    table = read()
    features, late = table.drop(columns=["late"]), table["late"]
    print(f"{len(table):,} flights, {late.mean():.1%} late", flush=True)

    shown, unseen, learnt, truth = train_test_split(features, late, test_size=0.2, random_state=0)
    answers = build(options).fit(shown, learnt).predict_proba(unseen)[:, 1]
    log(unseen_auc=roc_auc_score(truth, answers), unseen_pr_auc=average_precision_score(truth, answers))
    print("judged on a fifth, which it had not seen; now training on all", flush=True)

    model = build(options).fit(features, late)
    log(train_auc=roc_auc_score(late, model.predict_proba(features)[:, 1]), rows=len(table))
    example = features.head(5)
    mlflow.sklearn.save_model(
        model,
        os.environ["MLPORT_OUTPUT_MODEL"],
        signature=infer_signature(example, model.predict_proba(example)),
        input_example=example,
        pyfunc_predict_fn="predict_proba",
        pip_requirements=[f"scikit-learn=={sklearn.__version__}", f"pandas=={pd.__version__}"],
        serialization_format="cloudpickle",
    )


if __name__ == "__main__":
    main()
