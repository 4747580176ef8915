"""What each metric is, as data: base, root, bins, smoothing and what becomes of NaN go with every number, and with every threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

from mlport.errors import UsageError

Kind = Literal["number", "category", "text", "embedding"]
NAN = "left out; `missing` counts them"


@dataclass(frozen=True, slots=True)
class Bins:
    """How values are put into the histograms that JS, PSI, KL, TV, Hellinger and L-infinity compare.

    `quantiles`: `count` bins of equal mass of the reference, parted at its inverted CDF, which are observed values; the first and last
    bin are open. `uniform`: `count` bins of equal width from the least to the greatest value of both; without a count, Sturges' rule
    `ceil(log2(rows of both)) + 1`. `edges`: your own, ascending; the first and last bin are open. Bins take their left end, and the
    last of `uniform` its right end too. `categories`: each value is a bin.
    """

    rule: Literal["quantiles", "uniform", "edges", "categories"] = "quantiles"
    count: int | None = 10
    edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.rule == "quantiles" and (self.count is None or self.count < 2):
            raise UsageError(f"bins: count is {self.count}; quantiles need at least 2")
        if self.rule == "uniform" and self.count is not None and self.count < 1:
            raise UsageError(f"bins: count is {self.count}; uniform bins need at least 1, or None for Sturges' rule")
        if self.rule == "edges" and (not self.edges or any(a >= b for a, b in zip(self.edges, self.edges[1:], strict=False))):
            raise UsageError(f"bins: edges {list(self.edges)} must be at least one number, ascending")


@dataclass(frozen=True, slots=True)
class Smoothing:
    """What keeps empty bins from giving infinity: shares are at least `amount` (`floor`), or `amount` is added to each count (`add`)."""

    rule: Literal["none", "floor", "add"] = "none"
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Norm:
    """Wasserstein's divisor: the reference's standard deviation with `ddof`, but at least `floor`."""

    ddof: int = 0
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric, fully said. `name` is what its reading is called in a report; more is always worse.

    `root`: whether the root is taken. `js_distance` and `hellinger` are roots, the others are not unless it is asked for.

    >>> Definition("js_distance").root, Definition("js").root
    (True, False)
    """

    metric: str
    name: str = ""
    base: float | None = None
    root: bool | None = None
    bins: Bins | None = None
    smoothing: Smoothing | None = None
    norm: Norm | None = None
    nan: str = NAN

    def __post_init__(self) -> None:
        if self.metric not in _KINDS:
            near = get_close_matches(self.metric, _KINDS, 1)
            raise UsageError(f"there is no metric {self.metric!r}" + (f"; did you mean {near[0]!r}?" if near else f": {', '.join(_KINDS)}"))
        if self.base is not None and not (self.base > 1 and math.isfinite(self.base)):
            raise UsageError(f"metric {self.metric}: base is {self.base}; a logarithm's base must be above 1")
        if self.root is False and self.metric in _ROOTS:
            instead = "; js is the divergence itself" if self.metric == "js_distance" else ""
            raise UsageError(f"metric {self.metric}: root is False, and it is a root by its definition{instead}")
        object.__setattr__(self, "root", bool(self.root) or self.metric in _ROOTS)

    @property
    def key(self) -> str:
        return self.name or self.metric

    def fits(self, kind: Kind) -> bool:
        """Whether columns of this kind have the metric."""
        return kind in _KINDS[self.metric]

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None and value != ""}


_ORDERED: tuple[Kind, ...] = ("number", "text", "embedding")
_ROOTS = ("js_distance", "hellinger")
_BINNED: tuple[Kind, ...] = ("number", "text", "embedding", "category")
_KINDS: Mapping[str, tuple[Kind, ...]] = {
    "ks": _ORDERED,
    "wasserstein": _ORDERED,
    "wasserstein_normed": _ORDERED,
    "js": _BINNED,
    "js_distance": _BINNED,
    "psi": _BINNED,
    "kl": _BINNED,
    "tv": _BINNED,
    "hellinger": _BINNED,
    "linf": _BINNED,
    "chi2": ("category",),
    "missing": _BINNED,
    "centroid_cosine": ("embedding",),
    "centroid_euclidean": ("embedding",),
}
METRICS = tuple(_KINDS)
FLOOR = Smoothing("floor", 1e-4)
DECILES = Bins()
CATEGORIES = Bins("categories", None)
BINNED = ("js", "js_distance", "psi", "kl", "tv", "hellinger", "linf")
DEFAULT = (
    Definition("ks"),
    Definition("wasserstein"),
    Definition("wasserstein_normed", norm=Norm()),
    Definition("js", base=2.0, bins=DECILES),
    Definition("js_distance", base=2.0, bins=DECILES),
    Definition("psi", base=math.e, bins=DECILES, smoothing=FLOOR),
    Definition("kl", base=math.e, bins=DECILES, smoothing=FLOOR),
    Definition("tv", bins=DECILES),
    Definition("hellinger", bins=DECILES),
    Definition("linf", bins=DECILES),
    Definition("chi2"),
    Definition("missing", nan="NaN and null both count as missing"),
    Definition("centroid_cosine"),
    Definition("centroid_euclidean"),
)
_DEFAULT = {definition.metric: definition for definition in DEFAULT}


def definitions(metrics: Sequence[str | Definition] | None, bins: Bins | None) -> tuple[Definition, ...]:
    """What to compute: all metrics, or those named or defined; `bins` are for those named that have some.

    Raises:
        UsageError: there is no such metric, or two have one name.
    """
    wanted = DEFAULT if metrics is None else tuple(_named(metric) for metric in metrics)
    if bins is not None:
        own = {metric for metric in metrics or () if isinstance(metric, Definition)}
        wanted = tuple(replace(each, bins=bins) if each.bins and each not in own else each for each in wanted)
    keys = [each.key for each in wanted]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise UsageError(f"two metrics are called {twice[0]!r}", hint="give one of the definitions a `name`")
    return wanted


def _named(metric: str | Definition) -> Definition:
    if isinstance(metric, Definition):
        return replace(metric, bins=metric.bins or DECILES) if metric.metric in BINNED else metric
    return _DEFAULT.get(metric) or Definition(metric)


def of_kind(wanted: Sequence[Definition], kind: Kind) -> list[Definition]:
    """Those that a column of this kind has; categories are their own bins."""
    found = [definition for definition in wanted if definition.fits(kind)]
    return [replace(each, bins=CATEGORIES) if each.bins and kind == "category" else each for each in found]
