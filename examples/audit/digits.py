"""Audit of a real image task with a rare class: is this 8 x 8 image an eight, where only one image in forty is?

python digits.py    prints what docs/audit.md shows
"""

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlport import audit


def rare_eights() -> pd.DataFrame:
    """scikit-learn's digits (UCI, CC BY 4.0) with a quarter of the eights; 64 pixels, the `digit`, and whether it `is_eight`."""
    pixels, digit = load_digits(return_X_y=True, as_frame=True)
    kept = (digit != 8) | (np.random.default_rng(0).random(len(digit)) < 0.25)
    table = pixels.assign(digit=digit, is_eight=np.where(digit == 8, "eight", "other"))
    return table[kept].reset_index(drop=True)


def slices(table: pd.DataFrame) -> pd.DataFrame:
    """What to look for weak spots by: how much ink an image has, how wide it is, and what it shows."""
    images = table.filter(like="pixel").to_numpy().reshape(-1, 8, 8)
    width = (images.sum(axis=1) > 0).sum(axis=1)
    return pd.DataFrame({"ink": images.sum(axis=(1, 2)), "width": width, "digit": table["digit"].astype(str)})


def main() -> None:
    table = rare_eights()

    print("BEFORE TRAINING")
    print(audit.dataset(table, label="is_eight", ignore="digit"))

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    pixels = table.filter(like="pixel")
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    score = cross_val_predict(model, pixels, table["is_eight"] == "eight", cv=folds, method="predict_proba")[:, 1]

    print("\nAFTER TRAINING")
    costs = {"false_negative": 10, "false_positive": 1}
    print(audit.evaluate(table["is_eight"], score, positive="eight", slices=slices(table), costs=costs))

    print("\nADVICE")
    kinds = ["threshold", "class weights", "resample", "collect"]
    print(audit.advice(table, label="is_eight", ignore="digit", kinds=kinds))


if __name__ == "__main__":
    main()
