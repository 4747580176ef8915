"""Runs the SDK's examples, unmodified, against `mlport emulate databricks`: `python -m samples.databricks.run CHECKOUT [--only PATTERN]`.

CHECKOUT is one of databricks/databricks-sdk-py. Each example is a program, run with nothing but the emulator's environment
and the names that it reads from there. Exits with 1 if one fails that should not, or does not fail as it should, or if the
table and the checkout differ.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path

from samples.databricks.table import Entry, compare, entry_of, examples

from mlport.emulation.server import Ready, serve
from mlport_databricks.emulator import EMULATOR

SECONDS, AT_ONCE = 300.0, 2  # for one example; examples
PREPARE = """
from databricks.sdk import WorkspaceClient
from databricks.sdk.service import compute

w = WorkspaceClient()
cluster = w.clusters.create(
    cluster_name="examples", spark_version=w.clusters.select_spark_version(long_term_support=True),
    node_type_id=w.clusters.select_node_type(local_disk=True), num_workers=1, autotermination_minutes=60).result()
pool = w.instance_pools.create(instance_pool_name="examples", node_type_id=w.clusters.select_node_type(local_disk=True))
print(cluster.cluster_id, pool.instance_pool_id)
print(next(iter(w.warehouses.list())).id)
"""


def run(program: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit status, and what was printed. One that asks for host and token is told them."""
    typed = "".join(f"{environment.get(name, '')}\n" for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"))
    try:
        done = subprocess.run(
            [sys.executable, *program],
            env={**os.environ, **environment},
            input=typed,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return -1, f"not over after {SECONDS:g} s\n{error.stderr!r}"
    return done.returncode, done.stdout + done.stderr


def prepared(ready: Ready) -> dict[str, str]:
    """The environment of the examples: a running cluster, a pool and a warehouse, by the names that the SDK's own tests give them."""
    status, told = run(["-c", PREPARE], ready.environment)
    if status:
        raise SystemExit(told)
    cluster, pool, warehouse = told.split()[-3:]
    return {
        **ready.environment,
        "DATABRICKS_CLUSTER_ID": cluster,
        "TEST_DEFAULT_CLUSTER_ID": cluster,
        "TEST_INSTANCE_POOL_ID": pool,
        "TEST_DEFAULT_WAREHOUSE_ID": warehouse,
    }


def wrong(entry: Entry, status: int, told: str) -> str:
    """What is not as the table has it; nothing if all is well."""
    if not entry.refused or (entry.sometimes and status == 0):
        return "" if status == 0 else f"exit status {status}\n{told}"
    return "" if status and entry.is_told(told) else f"it was to fail with {entry.refused!r}; exit status {status}\n{told}"


def attempts(checkout: Path, paths: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Run these; those that are not as the table has them, with what they said."""

    def one(path: str) -> str:
        entry, began = entry_of(path), time.monotonic()
        assert entry is not None
        said = wrong(entry, *run([str(checkout / "examples" / path)], environment))
        state = "FAILS" if said else "ok (refused)" if entry.refused else "ok"
        print(f"{time.monotonic() - began:6.1f} s  {state:12}  {path}", flush=True)
        return f"{path}\n{said}" if said else ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [said for said in pool.map(one, paths) if said]


def emulated(checkout: Path, paths: Sequence[str]) -> list[str]:
    """Run these against an emulator of their own."""
    with tempfile.TemporaryDirectory(prefix="samples-") as folder, serve({"databricks": EMULATOR}, Path(folder), keep=False) as ready:
        return attempts(checkout, paths, prepared(ready))


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkout", type=Path, help="a checkout of databricks/databricks-sdk-py")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="such as '*jobs*'")
    asked = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the emulator and what it runs are ended on the way out
    unknown, unused = compare(asked.checkout)
    ran = [path for path in examples(asked.checkout) if (entry := entry_of(path)) and not entry.reason and fnmatch(path, asked.only)]
    failed = emulated(asked.checkout, ran)
    for title, found in (("not in the table", unknown), ("in the table, but not in the checkout", unused)):
        for each in found:
            print(f"{title}: {each}")
    for each in failed:
        print(f"\n--- {each}")
    refused = sum(bool(entry.refused) for path in ran if (entry := entry_of(path)))
    print(f"\n{len(ran)} examples, {refused} of which must fail, {len(failed)} not as they should; table.toml says why others are not run")
    return 1 if failed or unknown or unused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
