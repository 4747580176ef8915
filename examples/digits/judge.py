"""How right the scored digits are: `python judge.py FOLDER`."""

import sys

import pandas as pd

scored = pd.read_parquet(sys.argv[1])
wrong = scored[scored["prediction"] != scored["digit"]]
print(f"{len(scored)} images scored, {1 - len(wrong) / len(scored):.1%} right")
print("mistaken:", ", ".join(f"{row.digit} for {row.prediction} (image {row.image})" for row in wrong.head(5).itertuples()))
