"""Rows that are nearly the same as another: two crops of one photo, one text with a word changed, a record entered twice.

Rows of numbers and categories are near where one is so much closer to another than its neighbourhood is dense that chance alone would
give less than one such pair in the whole table. Texts are near where they share most of their pieces (MinHash: A. Z. Broder, On the
resemblance and containment of documents, SEQUENCES 1997; 0.8 as in K. Lee et al., Deduplicating training data, ACL 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlport.audit.records import Record
from mlport.audit.rows import EXAMPLES, Ints, Shared
from mlport.audit.tables import bounded, codes, is_nested, numbers

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
MOST_ROWS, MOST_TEXTS = 100_000, 50_000
"""Of more different rows, or texts, so many are drawn."""
MOST_CELLS = 20_000_000
"""Of wide rows fewer: so many numbers in all."""
FEWEST = 50
SAMPLE, PLACE = 1_000, 5
"""How dense a neighbourhood is: the distance to the fifth nearest of a sample of so many rows."""
NEAREST = 0.25
"""At most this share of that distance is near, however unlikely it is by chance."""
FALSE = 0.5
"""How many pairs may be expected by chance in a table without any."""
PROJECTED, CANDIDATES = 8, 4
SIGNATURE = 8
"""Numbers that stand for a category: random, so that any two categories are about as far apart."""
LETTERS, DISTINCT = 25, 0.5
"""A column of strings whose mean length and share of distinct values are above these is text."""
SHINGLE, BANDS, BAND, ALIKE = 5, 16, 4, 0.8
ONE, HALF = np.uint64(1), np.uint64(32)
"""Hashing by multiply and shift, modulo 2^64 (M. Dietzfelbinger et al., J. Algorithms 25, 1997)."""


@dataclass(frozen=True)
class Pair(Record):
    """Two rows, by their numbers, and how near they are: of texts the share of pieces in common, else the distance over what is usual there."""

    row: int
    other: int
    nearness: float


@dataclass(frozen=True)
class Near(Record):
    """Rows that are nearly, and not wholly, the same as another, in `of`: the features, or a column of text.

    `shared` counts those of other splits that are near a row of the training split (and equal to none). With a `reason`, nothing was judged.
    """

    of: str
    all_rows: int
    rows: int = 0
    looked_at: int = 0
    shared: tuple[Shared, ...] = ()
    examples: tuple[Pair, ...] = ()
    reason: str | None = None


def near_duplicates(
    table: pd.DataFrame, features: Sequence[str], same: Ints, splits: NDArray[Any], train: str, seed: int
) -> tuple[Near, ...]:
    """Of rows with the identities `same` by their features; each column of text is looked at by itself, and then the others are not."""
    texts = [name for name in features if _is_text(table[name])]
    if texts:
        return tuple(_near(name, _codes(table[name]), splits, train, _alike(table[name], seed)) for name in texts)
    kept = [name for name in features if not table[name].isna().all()]
    first, looked_at = _first(same, MOST_ROWS, seed)
    points = _points(table.iloc[first], kept, seed)
    if points.size > MOST_CELLS:
        first, looked_at = _first(same, MOST_CELLS // points.shape[1], seed)
        points = _points(table.iloc[first], kept, seed)
    if len(first) < FEWEST or points.shape[1] == 0:
        reason = f"fewer than {FEWEST} different rows" if len(first) < FEWEST else "no feature varies"
        return (Near("features", len(same), reason=reason),)
    return (_near("features", same, splits, train, (looked_at, *_close(points, first, seed))),)


def _first(same: Ints, most: int, seed: int) -> tuple[Ints, int]:
    """A row of each identity, at most so many; and how many rows they stand for."""
    found, counts = (np.asarray(each) for each in np.unique(same, return_index=True, return_counts=True)[1:])
    kept = np.arange(len(found))
    if len(found) > most:
        kept = np.sort(np.random.default_rng(seed).choice(len(found), most, replace=False))
    return found[kept], int(counts[kept].sum())


def _near(of: str, same: Ints, splits: NDArray[Any], train: str, found: tuple[int, Ints, Floats]) -> Near:
    """The record of pairs of rows (each a row of its identity) with their nearness."""
    looked_at, pairs, nearness = found
    size = int(same.max()) + 1
    links = same[np.concatenate([pairs, pairs[:, ::-1]])]
    near = np.isin(same, links[:, 0])
    trained = np.bincount(same[splits == train], minlength=size) > 0
    beside = np.unique(links[trained[links[:, 1]], 0])
    mine = same[splits == train]
    usual = float(np.isin(mine, beside).mean()) if len(mine) else 0.0
    shared = []
    for name in dict.fromkeys(splits.tolist()):
        if name != train:
            own = np.flatnonzero(splits == name)
            both = own[np.isin(same[own], beside) & ~trained[same[own]]]
            shared.append(Shared(str(name), len(both), len(own), tuple(both[:EXAMPLES].tolist()), usual))
    examples = tuple(Pair(int(a), int(b), float(each)) for (a, b), each in zip(pairs[:EXAMPLES], nearness[:EXAMPLES], strict=True))
    return Near(of, len(same), int(near.sum()), looked_at, tuple(shared), examples)


# ---------------------------------------------------------------- rows


def _points(table: pd.DataFrame, features: Sequence[str], seed: int) -> Floats:
    """Each row as a point: numbers by what is usual of their column, categories as far apart as that."""
    rng = np.random.default_rng(seed)
    columns = [part for name in features for part in _coordinates(table[name], rng)]
    return np.column_stack(columns) if columns else np.empty((len(table), 0))


def _coordinates(values: pd.Series[Any], rng: np.random.Generator) -> Iterator[Floats]:
    found = numbers(values)
    if found is not None:
        missing = np.isnan(found)
        scaled = _scaled(bounded(found)[:, None], missing[:, None])
        yield from () if scaled is None else (scaled,)
        if missing.any():
            yield missing[:, None].astype(float)
        return
    if is_nested(values) and (matrix := _matrix(values)) is not None:
        scaled = _scaled(matrix, np.isnan(matrix), together=True)
        yield from () if scaled is None else (scaled,)
        return
    place, names = codes(values)
    if len(names) > 1:
        signs = rng.normal(size=(len(names) + 1, SIGNATURE))
        yield (signs / np.linalg.norm(signs, axis=1, keepdims=True))[place]


def _matrix(values: pd.Series[Any]) -> Floats | None:
    """Lists of one length as rows; None where they are of several, or hold no numbers."""
    try:
        found = np.stack([np.asarray(each, float).ravel() for each in values])
    except (TypeError, ValueError):
        return None
    return bounded(found)


def _scaled(values: Floats, missing: NDArray[np.bool_], *, together: bool = False) -> Floats | None:
    """By the middle nine tenths, or the range, what is further out by its logarithm; None of what does not vary. Missing values lie in the middle."""
    axis = None if together else 0
    low, centre, high = np.nanquantile(values, [0.05, 0.5, 0.95], axis=axis)
    spread = np.where(high > low, high - low, np.nanmax(values, axis=axis) - np.nanmin(values, axis=axis))
    if not np.all(spread > 0):
        return None
    return np.asarray(np.arcsinh(np.where(missing, 0.0, (values - centre) / spread)), float)


def _close(points: Floats, first: Ints, seed: int) -> tuple[Ints, Floats]:
    """Pairs of the rows numbered `first` that are nearer than chance gives, and how near, the nearest first."""
    from scipy.spatial import KDTree

    rng = np.random.default_rng(seed)
    usual, dimension = _density(points, rng)
    most = min(NEAREST, (FALSE * min(SAMPLE, len(points)) / (PLACE * len(points) ** 2)) ** (1 / dimension))
    flat = _projected(points, rng)
    _, found = KDTree(flat).query(flat, k=CANDIDATES + 1, distance_upper_bound=most * float(usual.max()) + 1e-12)
    both = np.column_stack([np.repeat(np.arange(len(points)), CANDIDATES + 1), found.ravel()])
    both = np.unique(np.sort(both[(both[:, 1] < len(points)) & (both[:, 0] != both[:, 1])], axis=1), axis=0)
    parts = np.array_split(both, len(both) // 20_000 + 1)
    apart = np.concatenate([np.linalg.norm(points[part[:, 0]] - points[part[:, 1]], axis=1) for part in parts])
    scale = np.minimum(usual[both[:, 0]], usual[both[:, 1]])
    nearness = np.divide(apart, scale, out=np.full(len(apart), np.inf), where=scale > 0)
    order = np.argsort(nearness, kind="stable")
    order = order[nearness[order] < most]
    return first[both[order]], nearness[order]


def _projected(points: Floats, rng: np.random.Generator) -> Floats:
    """Onto few directions, in which no two points are further apart than they are: the principal ones of a sample."""
    if points.shape[1] <= PROJECTED:
        return points
    sample = points[rng.choice(len(points), min(SAMPLE, len(points)), replace=False)]
    return np.asarray(points @ np.linalg.svd(sample - sample.mean(0), full_matrices=False)[2][:PROJECTED].T, float)


def _density(points: Floats, rng: np.random.Generator) -> tuple[Floats, float]:
    """Each row's distance to the fifth nearest of a sample, and how many dimensions the data have (E. Levina and P. Bickel, NIPS 2004)."""
    sample = points[rng.choice(len(points), min(SAMPLE, len(points)), replace=False)]
    found = []
    for part in np.array_split(points, max(1, len(points) // 2_000)):
        squared = (part**2).sum(1)[:, None] - 2 * part @ sample.T + (sample**2).sum(1)
        nearest = np.sort(np.partition(np.maximum(squared, 0), PLACE, axis=1)[:, : PLACE + 1], axis=1)
        itself = nearest[:, 0] < 1e-9
        found.append(np.where(itself[:, None], nearest[:, 1:], nearest[:, :-1]))
    distances = np.sqrt(np.concatenate(found))
    apart = distances[distances[:, 0] > 0]
    steps = np.log(apart[:, -1:] / apart[:, :-1])
    dimension = 1 / max(float(steps.mean()), 1e-3) if len(apart) else 1.0
    return distances[:, -1], float(np.clip(dimension, 1, points.shape[1]))


# ---------------------------------------------------------------- texts


def _is_text(values: pd.Series[Any]) -> bool:
    present = values.dropna()
    if not len(present) or not all(isinstance(each, str) for each in present.iloc[:100]):
        return False
    sample = present.iloc[:2_000].astype(str)
    return bool(sample.str.len().mean() > LETTERS and sample.nunique() > DISTINCT * len(sample))


def _codes(values: pd.Series[Any]) -> Ints:
    """A number for each text; missing ones are all different."""
    import pandas as pd

    found, names = pd.factorize(values)
    missing = found < 0
    found[missing] = len(names) + np.arange(int(missing.sum()))
    return np.asarray(found, np.int64)


def _alike(values: pd.Series[Any], seed: int) -> tuple[int, Ints, Floats]:
    """Pairs of rows whose texts share at least 0.8 of their pieces of five letters: candidates by MinHash in bands, then counted."""
    first, looked_at = _first(_codes(values), MOST_TEXTS, seed)
    first = first[values.iloc[first].notna().to_numpy()]
    pieces = [_pieces(str(text)) for text in values.iloc[first]]
    rng = np.random.default_rng(seed)
    times, plus = (rng.integers(0, 1 << 64, size=(BANDS, BAND), dtype=np.uint64) for _ in range(2))
    starts = np.concatenate([[0], np.cumsum([len(each) for each in pieces])[:-1]])
    every = np.concatenate(pieces) if pieces else np.empty(0, np.uint64)
    found: set[tuple[int, int]] = set()
    for a, b in zip(times, plus, strict=True):
        least = [np.minimum.reduceat((every * (x | ONE) + y) >> HALF, starts) for x, y in zip(a, b, strict=True)] if len(every) else []
        found |= set(_together(least))
    alike = [(a, b, share) for a, b in found if (share := _shared(pieces[a], pieces[b])) >= ALIKE]
    alike.sort(key=lambda each: (-each[2], each[:2]))
    pairs = np.array([(first[a], first[b]) for a, b, _ in alike], np.int64).reshape(-1, 2)
    return looked_at, pairs, np.array([share for *_, share in alike])


def _pieces(text: str) -> NDArray[np.uint64]:
    """The different pieces of five letters, as numbers below 2^32; upper case and spaces do not count."""
    plain = " ".join(text.casefold().split())
    letters = np.frombuffer(plain.encode("utf-32-le"), np.uint32).astype(np.uint64)
    if len(letters) < SHINGLE:
        letters = np.pad(letters, (0, SHINGLE - len(letters)))
    found = np.zeros(len(letters) - SHINGLE + 1, np.uint64)
    for at in range(SHINGLE):
        found = (found * np.uint64(1_000_003) + letters[at : len(letters) - SHINGLE + 1 + at]) & np.uint64(0xFFFFFFFF)
    return np.unique(found)


def _together(least: list[NDArray[np.uint64]]) -> Iterator[tuple[int, int]]:
    """Neighbours among texts whose least numbers are all the same: links enough to join each group, and few in a large one."""
    if not least:
        return
    order = np.lexsort(least)
    equal = np.all([each[order][1:] == each[order][:-1] for each in least], axis=0)
    for at in np.flatnonzero(equal):
        a, b = sorted((int(order[at]), int(order[at + 1])))
        yield a, b


def _shared(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> float:
    both = len(np.intersect1d(first, second, assume_unique=True))
    return both / (len(first) + len(second) - both)
