"""Runs Google's samples, unmodified, against `mlport emulate vertex`: `python -m samples.vertex.run CHECKOUT [--transport grpc] [--only PATTERN]`.

CHECKOUT is one of googleapis/python-aiplatform. Each sample runs in a process of its own with nothing but the emulator's
environment, and what it did is then looked up through the API. Exits with 1 if a sample fails, or the table and the
checkout differ.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from samples.vertex.table import Sample, absent, compare, runs, transports
from samples.vertex.world import World, emulated

TRANSPORTS = ("grpc", "rest")


def attempt(world: World, checkout: Path, sample: Sample) -> str:
    """What is wrong; nothing if all is well."""
    try:
        arguments = sample.arguments(world)
        try:
            told = world.run(checkout / "samples" / sample.path, arguments)
        except AssertionError as error:
            if not sample.refused or sample.refused not in str(error):
                raise
            told = None
        if told and sample.refused:
            return f"it works, though the table says that it fails with {sample.refused!r}"
        sample.after(world, told)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one sample is told, and the others go on
        return f"{type(error).__name__}: {error}"
    return ""


def run(checkout: Path, samples: Iterable[Sample], chosen: Sequence[str], only: str) -> list[str]:
    """The samples that fail, with what is wrong; each is printed as it ends."""
    failed = []
    with tempfile.TemporaryDirectory(prefix="samples-") as folder, emulated(Path(folder)) as ready:
        for transport in chosen:
            world = World(ready, Path(folder), transport)
            for sample in samples:
                if not fnmatch(sample.path, only) or transport not in transports(sample):
                    continue
                began = time.monotonic()
                wrong = attempt(world, checkout, sample)
                state = "FAILS" if wrong else "ok (refused)" if sample.refused else "ok"
                print(f"{transport}  {time.monotonic() - began:6.1f} s  {state:5}  {sample.path}", flush=True)
                if wrong:
                    failed.append(f"{transport} {sample.path}\n{wrong}")
    return failed


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkout", type=Path, help="a checkout of googleapis/python-aiplatform")
    parser.add_argument("--transport", choices=[*TRANSPORTS, "both"], default="both")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="such as '*batch*'; a sample may need what those above it made")
    asked = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the emulator and what it runs are ended on the way out
    unknown, missing = compare(asked.checkout)
    failed = run(asked.checkout, runs(), TRANSPORTS if asked.transport == "both" else [asked.transport], asked.only)
    for title, found in (("not in the table", sorted(unknown)), ("in the table, but not in the checkout", sorted(missing))):
        for path in found:
            print(f"{title}: {path}")
    for each in failed:
        print(f"\n--- {each}")
    print(f"\n{len(runs())} samples, {len(failed)} failures, {len(absent())} not run (tests/samples/vertex/absent.toml says why)")
    return 1 if failed or unknown or missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
