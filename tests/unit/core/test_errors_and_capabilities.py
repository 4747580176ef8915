"""The tree of errors, and the one map of what a provider can do."""

from __future__ import annotations

import inspect
import re

import pytest

from mlport import errors
from mlport.capabilities import Capability as C
from mlport.capabilities import Level, Support, absent, check, composed, native, not_yet, total

CLASSES = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, errors.MlportError)}


def test_the_docstring_shows_the_whole_tree_and_its_parents() -> None:
    shown: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([│├└─ ]*)(\w+Error)\b", line):
            depth, name = len(found[1]), found[2]
            while path and path[-1][0] >= depth:
                path.pop()
            shown[name] = path[-1][1] if path else None
            path.append((depth, name))
    assert shown == {name: None if kind is errors.MlportError else kind.__bases__[0].__name__ for name, kind in CLASSES.items()}


@pytest.mark.parametrize("kind", CLASSES.values(), ids=list(CLASSES))
def test_exit_status_and_retry(kind: type[errors.MlportError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, errors.UsageError) else 3 if kind is errors.BudgetError else 1)
    assert kind.retryable == (kind in (errors.ThrottledError, errors.BusyError, errors.UnavailableError))
    assert kind.__doc__


def test_an_error_says_its_hint_and_its_json_leaves_out_what_is_empty() -> None:
    error = errors.QuotaError("no cores left", hint="ask for more", provider="sample", native_code="429")
    assert str(error) == "no cores left\n  hint: ask for more"
    assert error.to_json() == {
        "error": "QuotaError",
        "retryable": False,
        "message": "no cores left",
        "hint": "ask for more",
        "provider": "sample",
        "native_code": "429",
    }


SUPPORTS = {C.JOB_RUN: native(), C.JOB_SPOT: absent("no market"), C.SWEEP: not_yet("later"), C.BATCH: composed("a job")}


def test_check_names_every_gap_at_once() -> None:
    with pytest.raises(errors.UnsupportedError) as caught:
        check("sample", SUPPORTS, [C.JOB_RUN, C.JOB_SPOT, C.SWEEP])
    assert caught.value.gaps == {"job.spot": "absent: no market", "sweep": "not yet: later"}
    assert all(word in str(caught.value) for word in ("sample", "job.spot", "no market", "sweep", "later"))
    assert caught.value.to_json()["gaps"] == caught.value.gaps


def test_check_tells_how_each_need_is_met() -> None:
    assert check("sample", SUPPORTS, [C.BATCH, C.JOB_RUN]) == {"batch": Support(Level.COMPOSED, "a job"), "job.run": Support(Level.NATIVE)}


def test_a_map_must_answer_for_everything() -> None:
    with pytest.raises(ValueError, match=r"missing: .*job\.logs"):
        total(SUPPORTS)
    whole = dict.fromkeys(C, native())
    assert total(whole) == whole


def test_every_capability_has_its_words() -> None:
    assert all(capability.description for capability in C)
    assert C("job.run") is C.JOB_RUN  # type: ignore[call-arg]
    assert len({capability.description for capability in C}) == len(C)
