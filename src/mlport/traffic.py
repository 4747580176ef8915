"""How an endpoint's traffic is split: integer percent for each deployment."""

from __future__ import annotations

from collections.abc import Mapping

from mlport.errors import SpecError


def check_shares(split: Mapping[str, int]) -> None:
    """Raises SpecError for a share that is not an integer of 0 to 100, or a sum other than 100."""
    wrong = {name: share for name, share in split.items() if isinstance(share, bool) or not isinstance(share, int) or not 0 <= share <= 100}
    if wrong:
        raise SpecError(f"split: {wrong} must be integer percent, 0 to 100")
    if sum(split.values()) != 100:
        raise SpecError(f"split sums to {sum(split.values())}, not 100: {dict(split)}")


def check_split(split: Mapping[str, int], live: Mapping[str, int]) -> dict[str, int]:
    """The whole split over the live deployments: those not named get 0.

    Raises:
        SpecError: an unknown name, a share that is not an integer of 0 to 100, or a sum other than 100.
    """
    if unknown := [name for name in split if name not in live]:
        raise SpecError(f"split names what is not deployed: {', '.join(unknown)}", hint=f"deployed: {', '.join(live) or 'nothing'}")
    check_shares(split)
    return {name: split.get(name, 0) for name in live}
