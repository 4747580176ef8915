"""How a planted release is installed, and what its entry point loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlport_sample import SampleProvider
from mlport_sample.jobs import SampleJobs

from mlport_sample_planted.table import BUGS

if TYPE_CHECKING:
    from mlport_sample.config import SampleConfig

    from mlport.spi import Session


class PlantedProvider(SampleProvider):
    """The sample provider, one of whose roles is replaced by `part`."""

    def __init__(self, part: type) -> None:
        self._part = part

    def open(self, config: SampleConfig) -> Session:
        from mlport_sample_planted.session import PlantedSession

        return PlantedSession(config, self._part)


SOUND = PlantedProvider(SampleJobs)
"""The control: a release made in the same way, in which nothing is wrong."""


def install(folder: Path, bug: str) -> None:
    """Write the metadata of a release of `mlport-sample` whose provider has this bug of `table.BUGS`, or is `SOUND`."""
    info = folder / "mlport_sample-0.1.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mlport-sample\nVersion: 0.1.1\n")
    (info / "entry_points.txt").write_text(f"[mlport.providers]\nsample = {__name__}:{bug}\n")


def __getattr__(name: str) -> SampleProvider:
    """The provider with the bug of that name: what the entry point of `install` loads."""
    if name not in BUGS:
        raise AttributeError(f"no bug is named {name!r}")
    part = BUGS[name].part
    return part() if issubclass(part, SampleProvider) else PlantedProvider(part)
