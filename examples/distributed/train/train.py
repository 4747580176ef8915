"""Data-parallel training: each rank has its share of the rows, and the gradients are summed over all ranks at each step.

The result does not depend on the number of ranks, to rounding. Rank 0 checkpoints; a preempted job goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from ring import Group


def rows(count: int, features: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of a logistic model with known weights, their labels, and the weights."""
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=(count, features)), rng.normal(size=features)
    return x, (rng.random(count) < 1 / (1 + np.exp(-x @ weights))).astype(float), weights


def gradient(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of the summed log-loss, with the loss itself as the last element: one message for both."""
    p = 1 / (1 + np.exp(-x @ weights))
    loss = -np.sum(y * np.log(p + 1e-12) + (1 - y) * np.log(1 - p + 1e-12))
    return np.append(x.T @ (p - y), loss)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("rows", 20000), ("features", 20), ("epochs", 30), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rate", type=float, default=2.0)
    given = parser.parse_args()

    group = Group()
    x, y, truth = rows(given.rows, given.features, given.seed)
    mine = slice(group.rank, None, group.size)
    print(f"rank {group.rank} of {group.size} has {len(x[mine])} of {len(x)} rows", flush=True)

    checkpoint = Path(os.environ["MLPORT_CHECKPOINT_DIR"]) / "state.npy"
    kept = np.load(checkpoint) if group.rank == 0 and checkpoint.exists() else np.zeros(1 + given.features)
    state = group.from_main(kept)  # only rank 0 need see the checkpoint
    for epoch in range(int(state[0]), given.epochs):
        total = group.sum(gradient(state[1:], x[mine], y[mine])) / given.rows
        state = np.append(epoch + 1, state[1:] - given.rate * total[:-1])
        if group.rank == 0:
            part = checkpoint.with_suffix(".part.npy")
            np.save(part, state)
            part.replace(checkpoint)
            with Path(os.environ["MLPORT_METRICS"]).open("a") as metrics:
                print(json.dumps({"loss": total[-1], "step": epoch}), file=metrics)

    if group.rank == 0:
        error = float(np.linalg.norm(state[1:] - truth) / np.linalg.norm(truth))
        with Path(os.environ["MLPORT_METRICS"]).open("a") as metrics:
            print(json.dumps({"error": error}), file=metrics)
        np.save(Path(os.environ["MLPORT_OUTPUT_MODEL"]) / "weights.npy", state[1:])
        print(f"trained on {group.size} ranks: weights off by {error:.1%}")


if __name__ == "__main__":
    main()
