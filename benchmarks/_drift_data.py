"""The tables that drift is measured on, the second of two samples drifted a little: 16 columns of numbers and 4 of strings; wide ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GROUP = 250_000
PART = 1_000_000
WIDE_GROUP = 20_000


def table(rows: int, seed: int, shift: float) -> pa.Table:
    """Normal, log-normal, exponential, uniform, zero-inflated, counted and partly missing numbers; 2 to 200 categories."""
    random = np.random.default_rng(seed)
    columns = {f"normal{at}": random.normal(shift * (at % 3) * 0.1, 1, rows) for at in range(6)}
    columns |= {f"lognormal{at}": random.lognormal(0, 1 + 0.05 * shift * at, rows) for at in range(3)}
    columns |= {f"exponential{at}": random.exponential(1 + 0.03 * shift * at, rows) for at in range(2)}
    columns["uniform"] = random.random(rows)
    columns["zeros"] = np.where(random.random(rows) < 0.6, 0.0, random.gamma(2, 2, rows))
    columns["counts"] = random.poisson(30, rows).astype("int64")
    columns["codes"] = random.integers(0, 1000, rows)
    columns["missing"] = np.where(random.random(rows) < 0.03 + 0.02 * shift, np.nan, random.normal(0, 1, rows))
    for at, distinct in enumerate((2, 5, 20, 200)):
        shares = np.arange(1, distinct + 1) ** -0.7
        names = pa.array([f"cat_{name:03d}" for name in range(distinct)])
        columns[f"category{at}"] = names.take(pa.array(random.choice(distinct, rows, p=shares / shares.sum())))
    return pa.table(columns)


def files(folder: Path, rows: int) -> tuple[Path, Path]:
    """A reference and a current sample as Parquet, made once for each size."""
    found = []
    for name, seed, shift in (("reference", 1, 0), ("current", 2, 1)):
        path = folder / f"{name}-{rows}.parquet"
        found.append(path)
        if path.exists():
            continue
        half = path.with_suffix(".part")
        parts = [table(min(PART, rows - start), 100 * seed + start, shift) for start in range(0, min(rows, PART), PART)]
        with pq.ParquetWriter(half, parts[0].schema) as out:
            for start in range(0, rows, PART):
                out.write_table(parts[0] if start == 0 else table(min(PART, rows - start), 100 * seed + start, shift), row_group_size=GROUP)
        half.rename(path)
    return found[0], found[1]


def wide(folder: Path, rows: int, columns: int) -> tuple[Path, Path]:
    """Two samples of many columns, made a row group at a time: of ten, six normal (one drifts), one partly missing, two counted, one named."""
    found = []
    for name, seed, shift in (("reference", 1, 0.0), ("current", 2, 0.5)):
        path = folder / f"wide-{name}-{rows}x{columns}.parquet"
        found.append(path)
        if path.exists():
            continue
        half, random = path.with_suffix(".part"), np.random.default_rng(seed)
        names = pa.array([f"cat_{at:02d}" for at in range(20)])
        schema = None
        for start in range(0, rows, WIDE_GROUP):
            count = min(WIDE_GROUP, rows - start)
            group = pa.table({f"x{at:04d}": _wide_column(random, at, count, shift, names) for at in range(columns)})
            if schema is None:
                schema, writer = group.schema, pq.ParquetWriter(half, group.schema)
            writer.write_table(group)
        writer.close()
        half.rename(path)
    return found[0], found[1]


def _wide_column(random: np.random.Generator, at: int, rows: int, shift: float, names: pa.Array) -> pa.Array:
    if at % 10 == 9:
        return names.take(pa.array(random.integers(0, 20, rows)))
    if at % 10 >= 7:
        return pa.array(random.poisson(30, rows))
    values = random.normal(shift if at % 10 == 0 else 0.0, 1.0, rows)
    if at % 10 == 6:
        values[random.random(rows) < 0.05] = np.nan
    return pa.array(values)
