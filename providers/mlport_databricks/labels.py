"""Labels as Databricks takes them: tags of clusters and jobs, and tags of Unity Catalog. docs/spi/databricks.md, (c).

A one-time run has no tags of its own: its cluster has, and where there is no such cluster they stand in its manifest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mlport.errors import SpecError
from mlport.spi import TOKEN

UNITY_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_+@]{0,126}")  # none of `. , - = / :` and no space
MACHINE_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/=+@-]{0,126}")  # custom_tags become tags of the cloud's machines: what AWS takes
VALUE = re.compile(r"[^A-Za-z0-9 _.:/=+@-]")
MOST = 25  # of a job; a cluster takes 45, a model 50
LONGEST = 255
TOKEN_LABEL, KIND_LABEL = "mlport_token", "mlport_kind"


def labels(wanted: Mapping[str, str]) -> dict[str, str]:
    """Labels that Unity Catalog takes: keys must be right as they are, values are put right. `${token}` stays.

    >>> labels({"team": "Fraud & Risk"})
    {'team': 'Fraud - Risk'}

    Raises:
        SpecError: a key that would be refused, or more than 25 labels.
    """
    return _checked(wanted, UNITY_KEY, "letters, digits and _, no digit first", "rename them, with _ in place of - and .")


def machine_labels(wanted: Mapping[str, str]) -> dict[str, str]:
    """The same for clusters and jobs, whose tags may have some more signs in their keys."""
    return _checked(wanted, MACHINE_KEY, "letters, digits and _ . : / = + @ -, a letter first", "rename them")


def _checked(wanted: Mapping[str, str], key: re.Pattern[str], right: str, hint: str) -> dict[str, str]:
    wrong = sorted(name for name in wanted if not key.fullmatch(name))
    if wrong:
        raise SpecError(f"labels: {', '.join(map(repr, wrong))}: Databricks takes keys of at most 127 {right}", hint=hint)
    if len(wanted) > MOST:
        raise SpecError(f"labels: {len(wanted)} are more than the {MOST} tags that Databricks takes")
    return {name: value if value == TOKEN else clean(value) for name, value in wanted.items()}


def clean(value: str) -> str:
    """A tag's value as every cloud takes it: what is not allowed as `-`, at most 255 characters."""
    return VALUE.sub("-", value)[:LONGEST]
