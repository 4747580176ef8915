"""What the services of serving share: servers, updates, what was answered, and the tables that tell of it."""

from __future__ import annotations

from mlport.emulation.observed import Observed
from mlport_databricks.emulator.place import Place
from mlport_databricks.emulator.storing.inference_tables import InferenceTables
from mlport_databricks.emulator.working.deploying import Deploying
from mlport_databricks.emulator.working.served import Servers


class Serving:
    """The serving of one place."""

    def __init__(self, place: Place) -> None:
        self.servers = Servers(place)
        self.inference = InferenceTables(place, place.tables)
        self.deploying = Deploying(place, self.servers, self.inference.served)
        self.observed = Observed(place.folder / "observed")
