"""An evaluation as a page: every task, and nothing that a name can do to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlport.audit import evaluate, report

RNG = np.random.default_rng(0)
N = 900
Z = {"z": RNG.normal(size=N), "<b>": RNG.choice(["<script>alert(1)</script>", "b"], N)}
CLASSES = RNG.choice(["true \\ predicted", "<i>", "c"], N, p=[0.6, 0.3, 0.1])
MANY = RNG.integers(0, 25, N)
TASKS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "binary": (RNG.integers(0, 2, N), RNG.random(N), {"slices": Z, "costs": {"false_negative": 2.0}}),
    "ranking": (RNG.integers(0, 2, N), RNG.normal(size=N), {"slices": Z, "scores": "ranking"}),
    "labels of three": (CLASSES, np.where(RNG.random(N) < 0.7, CLASSES, "c"), {"slices": Z}),
    "labels of many": (MANY, np.where(RNG.random(N) < 0.7, MANY, 3), {"task": "multiclass"}),
    "numbers": (RNG.normal(size=N), RNG.normal(size=N), {"slices": Z}),
    "quantiles": (RNG.normal(size=N), {0.1: np.full(N, -1.3), 0.9: np.full(N, 1.3)}, {"slices": Z}),
}


@pytest.mark.parametrize("task", list(TASKS))
def test_every_task_has_its_page(task: str) -> None:
    truth, score, options = TASKS[task]
    found = evaluate(truth, score, **options)
    titles = [section.title for section in report.sections(found)]
    assert titles[0] == "Performance"
    assert ("Classes" in titles) is bool(found.by_class)
    assert ("Calibration" in titles) is (found.calibration is not None)
    assert ("Worst slices" in titles) is ("slices" in options)
    page = report.html(found, title="A <title>", name="a & b")
    assert len(page) < 120_000
    assert "<script" not in page
    assert "A &lt;title&gt;" in page
    for name in found.metrics:
        assert f">{name}</th>" in page
    if found.confusion is not None:
        shown = "20 most frequent mistakes" if task == "labels of many" else "Confusion: rows by true class"
        assert shown in page


def test_the_first_sentence_counts_problems_and_warnings() -> None:
    fair = evaluate([0, 1] * 100, [0.2, 0.8] * 100)
    assert "problem" not in report.sentence(fair)
    useless = evaluate([0, 1] * 200, [0.5, 0.5] * 200)
    assert report.sentence(useless).startswith(f"Found: {sum(each.severity == 'problem' for each in useless.findings)} problem")
