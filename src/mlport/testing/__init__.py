"""The conformance suite that holds every provider to `mlport.spi`, as a product of its own.

Run it against a profile, a target URL, or the bare name of an installed provider:

    pytest --pyargs mlport.testing.suite --profile=local
    pytest --pyargs mlport.testing.suite --profile=prod --other-profile=prod-of-another-account

The plug-in `mlport.testing.plugin` adds the options; `mlport.testing.suite` holds the tests; `needs` marks what a test
relies on. A test that needs what the provider declares absent is replaced by one that sees it refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlport.testing.marks import needs as needs

__all__ = ["needs"]


def __getattr__(name: str) -> Any:
    if name == "needs":
        from mlport.testing.marks import needs

        return needs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
