"""Labels as Google Cloud takes them: https://cloud.google.com/resource-manager/docs/labels-overview#requirements."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mlport.errors import SpecError
from mlport.spi import TOKEN

KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
MOST = 64  # on one resource
LONGEST = 63
TOKEN_LABEL, KIND_LABEL = "mlport_token", "mlport_kind"


def labels(wanted: Mapping[str, str]) -> dict[str, str]:
    """Labels that Google takes: keys must be right as they are, values are put right. `${token}` stays.

    >>> labels({"team": "Fraud & Risk"})
    {'team': 'fraud---risk'}

    Raises:
        SpecError: a key that Google would refuse, or more than 64 labels.
    """
    wrong = sorted(key for key in wanted if not KEY.fullmatch(key))
    if wrong:
        raise SpecError(
            f"labels: {', '.join(map(repr, wrong))}: Google Cloud takes keys of at most 63 lower-case letters, digits, _ and -, a letter first",
            hint="rename them",
        )
    if len(wanted) > MOST:
        raise SpecError(f"labels: {len(wanted)} are more than the {MOST} that Google Cloud takes")
    return {key: value if value == TOKEN else clean(value) for key, value in wanted.items()}


def clean(value: str) -> str:
    """A label's value as Google takes it: lower case, what is not allowed as `-`, at most 63 characters."""
    return re.sub(r"[^a-z0-9_-]", "-", value.lower())[:LONGEST]
