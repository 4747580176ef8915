"""The GPUs that the NVIDIA driver shows."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path

WSL = Path("/dev/dxg")
"""Where Windows shows its GPUs to Linux, however many."""


def gpu_count() -> int:
    """How many there are."""
    devices = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return devices or (len(gpu_names()) if WSL.exists() else 0)


@lru_cache(maxsize=1)
def gpu_names() -> tuple[str, ...]:
    """Their kinds, by index; () where the driver's tool does not tell."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    import subprocess

    listing = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False, timeout=20)
    return tuple(line.partition(": ")[2].partition(" (UUID")[0] for line in listing.stdout.splitlines() if line.startswith("GPU "))
