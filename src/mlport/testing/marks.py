"""What a conformance test relies on, as a mark that the plug-in reads."""

from __future__ import annotations

from typing import Any

import pytest

from mlport.capabilities import Capability

MARK = "needs"


def needs(*capabilities: Capability) -> pytest.MarkDecorator:
    """The test relies on these; where one is absent, its refusal is tested instead.

    >>> needs(Capability.JOB_CANCEL).args
    (<Capability.JOB_CANCEL: 'job.cancel'>,)
    """
    return pytest.mark.needs.with_args(*capabilities)


def needed(item: pytest.Item) -> list[Capability]:
    """All that the marks of a test, its class and its module name, in order."""
    found: dict[Capability, Any] = {}
    for mark in item.iter_markers(MARK):
        found |= dict.fromkeys(mark.args)
    return list(found)
