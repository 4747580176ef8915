"""Rows with values of NumPy, pandas and the standard library, as they go into a request."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from mlport.errors import SpecError
from mlport.rows import encoded


def test_what_has_a_json_form_gets_it() -> None:
    rows = {
        "int": np.int64(3),
        "float": np.float32(0.5),
        "nothing": float("nan"),
        "flag": np.bool_(True),
        "array": np.array([1.0, 2.0]),
        "day": date(2013, 5, 1),
        "moment": datetime(2013, 5, 1, tzinfo=UTC),
        "stamp": pd.Timestamp("2013-05-01"),
        "numpy's": np.datetime64("2013-05-01T00:00:00", "ns"),
        "money": Decimal("1.50"),
    }
    assert json.loads(encoded(rows)) == {
        "int": 3,
        "float": 0.5,
        "nothing": None,
        "flag": True,
        "array": [1.0, 2.0],
        "day": "2013-05-01",
        "moment": "2013-05-01T00:00:00Z",
        "stamp": "2013-05-01T00:00:00",
        "numpy's": "2013-05-01T00:00:00.000000000",
        "money": 1.5,
    }


def test_what_has_none_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match="a object has no JSON form"):
        encoded({"a": object()})
