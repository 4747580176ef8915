"""The accounts that a run of the suite is given, and the folder that its workers share."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import pytest

import mlport
from mlport.capabilities import Capability, Support
from mlport.errors import NotFoundError
from mlport.testing.waiting import eventually


class Targets:
    """Opens the profile under test, and a second account where there is one."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @cached_property
    def folder(self) -> Path:
        """A folder of this run, shared by its workers and kept when a test failed."""
        return Path(os.environ["PYTEST_MLPORT_FOLDER"])

    @property
    def run(self) -> str:
        """A short name of this run, the same in all its workers and new for each run."""
        return self.folder.name.rpartition("-")[2]

    @property
    def endpoint(self) -> str:
        """The name of the endpoint that the workers of this run share."""
        return f"suite-shared-{self.run}"

    @property
    def model(self) -> str:
        """The name of the model that they share."""
        return f"suite-model-{self.run}"

    def target(self, account: int) -> str | None:
        """The profile's name or URL of one account."""
        if account == 1 and (other := self._config.getoption("other_profile")):
            return str(other)
        found: str | None = self._config.hook.pytest_mlport_testing_config(
            profile=self._config.getoption("profile"), account=account, folder=self.folder
        )
        return found

    def connect(self, account: int = 0) -> mlport.Client | None:
        """A new client of one account, None where there is no such account."""
        target = self.target(account)
        return mlport.connect(target) if target else None

    @cached_property
    def supports(self) -> dict[Capability, Support]:
        """What the provider under test declares, asked once and without opening it."""
        client = self.connect()
        if client is None:
            raise pytest.UsageError("--profile names no target to test")
        return dict(client.provider.supports(client.config))

    def absent(self, capability: Capability) -> bool:
        """Whether the provider declares that it cannot."""
        return not self.supports[capability].available

    def remove_shared(self) -> None:
        """Remove what the workers of this run shared."""
        client = self.connect()
        if client is not None:
            with client:
                if client.can(Capability.ENDPOINT_SERVE):
                    client.endpoints.delete(self.endpoint)
                if client.can(Capability.MODEL_REGISTER):
                    with suppress(NotFoundError):  # no test of this run registered it
                        for version in list(client.models.versions(self.model)):
                            version.delete()

    def remove_folder(self) -> None:
        """Remove the run's folder, once nothing writes there any more."""
        eventually(lambda: _is_removed(self.folder), bool, 60)


def _is_removed(folder: Path) -> bool:
    """Remove a folder; False while a provider's own background work still writes there."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
