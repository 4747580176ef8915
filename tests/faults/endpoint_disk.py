"""An endpoint on a disk of its own that fills up, or turns read-only, and is well again: `unshare -m python endpoint_disk.py ROOT full|read-only`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from aids.local.endpoints import ROW, Place, until

from mlport.errors import UnavailableError
from mlport.spi import EndpointState, Window
from mlport_local.engine import process


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def fill(root: Path) -> None:
    """Not a byte is left."""
    with (root / "filler").open("wb", buffering=0) as filler:
        size = 1 << 20
        while size:
            try:
                filler.write(b"x" * size)
            except OSError:
                size //= 2


def is_refused(change: Callable[[], object]) -> bool:
    """Whether what cannot be stored is refused, with our error."""
    try:
        change()
    except UnavailableError:
        return True
    return False


def requests(place: Place, window: Window) -> int:
    return sum(one.requests for one in place.endpoints.observe("e", window).deployments)


def main(root: Path, how: str) -> None:
    mount("-t", "tmpfs", "-o", "size=48m", "tmpfs", str(root))
    place = Place(root, silence_seconds=5)
    place.done(place.endpoints.create(place.endpoint("e"), token="create"))
    began = datetime.now(UTC)
    ids = [place.endpoints.predict("e", [ROW]).request_id for _ in range(5)]

    if how == "full":
        fill(root)
    else:
        mount("--bind", str(root), str(root))
        mount("-o", "remount,ro,bind", str(root))
    during = [place.endpoints.predict("e", [ROW]).request_id for _ in range(5)]  # it goes on answering
    assert is_refused(lambda: place.endpoints.deploy(place.deployment("e", "green"), token="refused"))
    assert is_refused(lambda: place.endpoints.create(place.endpoint("f"), token="another"))
    assert is_refused(lambda: place.endpoints.rotate_key("e", token="rotated"))
    assert place.endpoints.get("e").split == {"blue": 100}
    os.kill(process.Identity.parse(place.observed("e").workers["blue"].identity or "").pid, signal.SIGKILL)
    until(lambda: place.endpoints.get("e").state is not EndpointState.READY)  # a look is true without being written

    if how == "full":
        (root / "filler").unlink()
    else:
        mount("-o", "remount,rw,bind", str(root))
    place.settled("e")
    ids += [place.endpoints.predict("e", [ROW]).request_id for _ in range(5)]
    ended = datetime.now(UTC)
    # what was counted while nothing could be written is one line: a window that ends within it is complete up to its beginning only
    until(lambda: place.endpoints.observe("e", Window(began, datetime.now(UTC))).complete_until > ended, 120)
    window = Window(began, datetime.now(UTC))
    assert requests(place, window) == 15, requests(place, window)
    kept = {row["provider_id"] for batch in place.endpoints.captured("e", window) for row in batch.to_pylist()}
    assert set(ids) <= kept <= {*ids, *during}
    place.done(place.endpoints.deploy(place.deployment("e", "green"), token="refused"))
    assert place.endpoints.predict("e", [ROW], deployment="green").predictions == [True]
    place.close()
    print("all is well")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
