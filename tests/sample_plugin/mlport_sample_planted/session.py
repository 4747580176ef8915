"""A session of the sample provider, one role of which is another's."""

from __future__ import annotations

from mlport_sample.config import SampleConfig
from mlport_sample.endpoints import SampleEndpoints
from mlport_sample.jobs import SampleJobs
from mlport_sample.models import SampleModels
from mlport_sample.session import SampleSession

from mlport.errors import stamped
from mlport.state.sqlite import SqliteStateStore


@stamped("sample", "session")
class PlantedSession(SampleSession):
    """`part` takes the place of the role that it is a kind of."""

    def __init__(self, config: SampleConfig, part: type) -> None:
        super().__init__(config)
        if issubclass(part, SampleJobs):
            self.jobs = part(config)
        elif issubclass(part, SampleModels):
            self.models = part(config)
        elif issubclass(part, SampleEndpoints):
            self.endpoints = part(config)
        elif issubclass(part, SqliteStateStore):
            self.state.close()
            self.state = part(config.root / "state.db")
        else:
            raise TypeError(f"{part.__name__} is no role of the sample provider")
