"""`python -m mlport.capture DIR`: compact a capture folder, once or every so often, at low priority."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlport.capture.compaction import compact
from mlport.capture.layout import current, removing
from mlport.capture.retention import expired


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m mlport.capture", description="Turn a capture folder's spool into Parquet.", allow_abbrev=False
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=float, metavar="SECONDS", help="go on until stopped; default: once")
    parser.add_argument("--keep-days", type=float, metavar="DAYS", help="remove files whose newest row is older")
    args = parser.parse_args()
    os.nice(10)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while True:
        done = compact(args.folder)
        removed = _remove_expired(args.folder, args.keep_days)
        print(json.dumps({**asdict(done), "removed": removed}), flush=True)
        if args.every is None or stop.wait(args.every):
            return 0


def _remove_expired(folder: Path, keep_days: float | None) -> int:
    if keep_days is None:
        return 0
    old = expired([found.path for found in current(folder)], datetime.now(UTC), timedelta(days=keep_days))
    with removing(folder) as allowed:
        removed = old if allowed else []
        for path in removed:
            path.unlink(missing_ok=True)
    return len(removed)


if __name__ == "__main__":
    sys.exit(main())
