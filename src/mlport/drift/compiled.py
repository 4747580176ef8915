"""The two hot loops compiled by numba at first use, with their machine code kept on disk for the next process.

Only `kernels` imports this module, and only when there is enough to do. Both loops give the numbers of their NumPy counterparts
there, bit by bit: they do the same operations in the same order, without fast-math.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from mlport.drift.kernels import Floats

DIGIT = 8
"""Bits of a digit: 256 places to write to at once stay within a core's first address cache; 2,048 took twice as long."""
BUCKETS = 1 << DIGIT
PASSES = 5
MOST_MOVES = 8
"""Times the values: more moves than that in the last pass, and the sample is clustered in a way that this sort is no good for."""
CALIBRATION = 1 << 16
_SIGN = np.uint64(1 << 63)


def _compile(signature: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile at once, keeping the code on disk where there is a folder to write to."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        settings = {"nogil": True, "error_model": "numpy"}
        try:
            return numba.njit(signature, cache=True, **settings)(function)  # type: ignore[no-any-return]
        except RuntimeError:  # numba found no folder for its cache
            return numba.njit(signature, **settings)(function)  # type: ignore[no-any-return]

    return decorate


_KEYS = numba.types.Array(numba.uint64, 1, "C")
_VALUES = numba.types.Array(numba.float64, 1, "C")
_GIVEN = numba.types.Array(numba.float64, 1, "C", readonly=True)
"""Arrow's buffers cannot be written to."""


@_compile(numba.int64(_KEYS))
def _to_keys(keys):  # type: ignore[no-untyped-def]
    """In place: the bits of floats as integers of the same order. Returns how many low bits hold all that differ."""
    key = keys[0]
    first = ~key if key & _SIGN else key | _SIGN
    differing = np.uint64(0)
    for at in range(keys.size):
        key = keys[at]
        key = ~key if key & _SIGN else key | _SIGN
        keys[at] = key
        differing |= key ^ first
    width = 0
    while differing:
        width += 1
        differing >>= np.uint64(1)
    return width


@_compile(numba.void(_KEYS, _KEYS, numba.uint64, numba.types.Array(numba.int64, 1, "C")))
def _scatter(keys, into, shift, places):  # type: ignore[no-untyped-def]
    """One pass by one digit; `places` holds how often each digit occurs."""
    mask = np.uint64(BUCKETS - 1)
    below = 0
    for bucket in range(BUCKETS):
        count = places[bucket]
        places[bucket] = below
        below += count
    for at in range(keys.size):
        key = keys[at]
        bucket = (key >> shift) & mask
        into[places[bucket]] = key
        places[bucket] += 1


@_compile(numba.boolean(_KEYS))
def _insert(keys):  # type: ignore[no-untyped-def]
    """Insertion sort. False if it was given up after too many moves."""
    moves = 0
    for at in range(1, keys.size):
        key = keys[at]
        to = at
        while to > 0 and keys[to - 1] > key:
            keys[to] = keys[to - 1]
            to -= 1
        keys[to] = key
        moves += at - to
        if moves > MOST_MOVES * keys.size:
            return False
    return True


@_compile(numba.types.Tuple((_KEYS, numba.boolean))(_KEYS, _KEYS))
def _radix(keys, spare):  # type: ignore[no-untyped-def]
    """Sort the bits of floats: by the 40 highest bits that differ, least significant digit first, then by insertion.

    Both arrays are written to; the result is one of them. False if the insertions were too many and the result is not in order.
    """
    low = np.uint64(max(0, _to_keys(keys) - DIGIT * PASSES))
    mask = np.uint64(BUCKETS - 1)
    counts = np.zeros((PASSES, BUCKETS), np.int64)
    for at in range(keys.size):
        key = keys[at] >> low
        for turn in range(PASSES):
            counts[turn, (key >> np.uint64(turn * DIGIT)) & mask] += 1
    for turn in range(PASSES):
        shift = low + np.uint64(turn * DIGIT)
        if counts[turn, (keys[0] >> shift) & mask] < keys.size:
            _scatter(keys, spare, shift, counts[turn])
            keys, spare = spare, keys
    ordered = _insert(keys) if low else True
    for at in range(keys.size):
        key = keys[at]
        keys[at] = key ^ _SIGN if key & _SIGN else ~key
    return keys, ordered


def _radix_sort(values: Floats) -> Floats:
    if not values.size:
        return values
    keys, ordered = _radix(np.ascontiguousarray(values).view(np.uint64), np.empty(values.size, np.uint64))
    found: Floats = keys.view(np.float64)
    if not ordered:
        found.sort()
    return found


@_compile(numba.types.Tuple((numba.float64, numba.float64, numba.int64, numba.int64))(_GIVEN, _GIVEN, *[numba.int64] * 4))
def walk(a, b, i, j, n, m):  # type: ignore[no-untyped-def]
    """See `kernels.Walk`; `i` and `j` values are minus infinity, of `n` and `m`."""
    largest, area, at_i, at_j = abs(i / n - j / m), 0.0, i, j
    p, q, a_size, b_size = 0, 0, a.size, b.size
    previous = min(a[0] if a_size else np.inf, b[0] if b_size else np.inf)
    while p < a_size or q < b_size:
        if p < a_size and q < b_size:
            x, y = a[p], b[q]
        elif p < a_size:
            x, y = a[p], np.inf
        else:
            x, y = np.inf, b[q]
        value = min(x, y)
        if value > previous:
            distance = abs(i / n - j / m)
            area += distance * (value - previous)
            if distance > largest:
                largest, at_i, at_j = distance, i, j
            previous = value
        from_a, from_b = int(x <= y), int(y <= x)
        p += from_a
        i += from_a
        q += from_b
        j += from_b
    distance = abs(i / n - j / m)
    if distance > largest:
        largest, at_i, at_j = distance, i, j
    return largest, area, at_i, at_j


@numba.njit(nogil=True, inline="always")  # type: ignore[untyped-decorator,unused-ignore]
def _key(value):  # type: ignore[no-untyped-def]
    bits = np.float64(value + 0.0).view(np.uint64)
    return ~bits if bits & _SIGN else bits | _SIGN


_BESIDE = numba.types.UniTuple(numba.int64, 4)


@_compile(
    numba.types.Tuple((_BESIDE, numba.types.UniTuple(numba.float64, 4)))(
        _GIVEN, _GIVEN, _GIVEN, numba.types.Array(numba.uint16, 1, "C"), numba.float64, numba.float64, numba.int64, numba.float64,
        numba.types.Array(numba.int64, 1, "C"), _VALUES, _VALUES,
    )
)  # fmt: skip
def tally(values, first, last, table, base, scale, shift, near, counts, sums, outside):  # type: ignore[no-untyped-def]
    """Count and add up values in the cells from `first` to `last`; `outside` gets those in none. See `cells.Lookup`.

    Returns how many are outside, NaN, minus and plus infinity; and of the finite ones the least, the greatest, the sum of what they
    are above `near`, and of its squares.
    """
    beside, missing, low, high = 0, 0, 0, 0
    least, greatest, total, squares = np.inf, -np.inf, 0.0, 0.0
    size, top = first.size, table.size - 1
    origin = _key(base)
    for at in range(values.size):
        value = values[at]
        if not abs(value) < np.inf:
            missing += value != value
            low += value == -np.inf
            high += value == np.inf
            continue
        apart = value - near
        total += apart
        squares += apart * apart
        least, greatest = min(least, value), max(greatest, value)
        if shift < 0:
            slot = np.int64(min(max((value - base) * scale, 0.0), float(top)))
        else:
            key = _key(value)
            slot = min(np.int64((key - origin) >> np.uint64(shift)), np.int64(top)) if key > origin else np.int64(0)
        cell = table[slot]
        while cell < size and last[cell] < value:
            cell += 1
        if cell < size and first[cell] <= value:
            counts[cell] += 1
            sums[cell] += value
        else:
            outside[beside] = value
            beside += 1
    return (beside, missing, low, high), (least, greatest, total, squares)


def _np_sort(values: Floats) -> Floats:
    values.sort()
    return values


def _seconds(sort: Callable[[Floats], Floats]) -> float:
    values = np.random.default_rng(0).normal(size=CALIBRATION)
    began = time.perf_counter()
    sort(values)
    return time.perf_counter() - began


def _faster() -> Callable[[Floats], Floats]:
    """NumPy's sort is 7 times as fast on one processor as on another of the same instructions, so this one is tried."""
    turns = [(_seconds(_radix_sort), _seconds(_np_sort)) for _ in range(3)]
    return _radix_sort if min(ours for ours, _ in turns) <= min(numpys for _, numpys in turns) else _np_sort


sort = _faster()
