"""Train on scikit-learn's breast cancer data: plain scikit-learn and MLflow, nothing of mlport."""

import argparse
import json
import os
from pathlib import Path

import mlflow
import sklearn
from mlflow.models import infer_signature
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

COLUMNS = ["mean radius", "mean texture"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--c", type=float, default=1.0)
    options = parser.parse_args()

    features, benign = load_breast_cancer(return_X_y=True, as_frame=True)
    train, test, train_benign, test_benign = train_test_split(features[COLUMNS], benign, random_state=0, stratify=benign)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=options.c)).fit(train, train_benign)

    accuracy = model.score(test, test_benign)
    print(f"trained on {len(train)} tumours, accuracy {accuracy:.3f} on {len(test)} others", flush=True)
    with Path(os.environ["MLPORT_METRICS"]).open("a") as metrics:
        metrics.write(json.dumps({"name": "accuracy", "value": accuracy}) + "\n")

    mlflow.sklearn.save_model(
        model,
        os.environ["MLPORT_OUTPUT_MODEL"],
        signature=infer_signature(train.head(), model.predict(train.head())),
        input_example=train.head(),
        pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
    )


if __name__ == "__main__":
    main()
