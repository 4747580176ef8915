"""Learn to read digits, epoch by epoch, with a checkpoint after each: a retry goes on where the attempt before it ended."""

import argparse
import json
import os
import pickle
from pathlib import Path

import mlflow
import pandas as pd
import sklearn
from mlflow.models import infer_signature
from sklearn.metrics import accuracy_score, recall_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

DIGITS = list(range(10))
CHECKPOINT = Path(os.environ["MLPORT_CHECKPOINT_DIR"]) / "model.pkl"


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--learning_rate", type=float, default=0.01)
    parser.add_argument("--die_after", type=int, default=0, help="end the first attempt after this epoch, to see a retry")
    return parser.parse_args()


def log(step, **metrics):
    lines = (json.dumps({"name": name, "value": float(value), "step": step}) + "\n" for name, value in metrics.items())
    with Path(os.environ["MLPORT_METRICS"]).open("a") as stream:
        stream.writelines(lines)


def save(model, epoch):
    """Write a checkpoint that is there whole or not at all."""
    part = CHECKPOINT.with_suffix(".part")
    part.write_bytes(pickle.dumps((model, epoch)))
    part.replace(CHECKPOINT)


def load(options):
    """The model as the attempt before this one left it, and the epochs that it has seen."""
    if CHECKPOINT.exists():
        return pickle.loads(CHECKPOINT.read_bytes())
    return MLPClassifier((options.hidden,), learning_rate_init=options.learning_rate, random_state=0), 0


def main():
    options = parse()
    table = pd.read_parquet(os.environ["MLPORT_INPUT_DIGITS"])
    pixels, digit = table.drop(columns=["digit", "image"]), table["digit"]
    learn, judge, learn_digit, judge_digit = train_test_split(pixels, digit, test_size=0.2, random_state=0, stratify=digit)
    scale = MinMaxScaler().fit(learn)

    model, seen = load(options)
    print(f"{len(learn)} images, from epoch {seen + 1} of {options.epochs}", flush=True)
    for epoch in range(seen + 1, options.epochs + 1):
        model.partial_fit(scale.transform(learn), learn_digit, classes=DIGITS)
        log(epoch, loss=model.loss_, accuracy=model.score(scale.transform(judge), judge_digit))
        save(model, epoch)
        if epoch == options.die_after and seen == 0:
            raise SystemExit(f"dying after epoch {epoch}, as asked")

    whole = make_pipeline(scale, model)
    answer = whole.predict(judge)
    recall = recall_score(judge_digit, answer, labels=DIGITS, average=None)
    log(options.epochs, **{f"recall_{digit}": value for digit, value in zip(DIGITS, recall, strict=True)})
    print(
        f"accuracy {accuracy_score(judge_digit, answer):.3f} on {len(judge)} images, worst recall {recall.min():.2f} of digit {recall.argmin()}"
    )
    mlflow.sklearn.save_model(
        whole,
        os.environ["MLPORT_OUTPUT_MODEL"],
        signature=infer_signature(judge.head(), answer[:5]),
        input_example=judge.head(),
        pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
        skops_trusted_types=["sklearn.neural_network._stochastic_optimizers.AdamOptimizer"],
    )


if __name__ == "__main__":
    main()
