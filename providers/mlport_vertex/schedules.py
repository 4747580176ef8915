"""Schedules in the staging bucket, fired by `mlport agent` on any machine: Vertex AI's own start pipelines and notebooks only."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mlport.errors import NotFoundError
from mlport.scheduling.stored import Stored, StoredSchedules
from mlport.spi import Plan, StateStore

if TYPE_CHECKING:
    from mlport_vertex.google.api import VertexApi


class VertexSchedules(StoredSchedules):
    """The role `Schedules`. The code of their jobs lies in Cloud Storage, and a copy of it here while it is used."""

    def __init__(self, api: VertexApi, store: StateStore) -> None:
        self._api = api
        self._folder = tempfile.TemporaryDirectory(prefix="mlport-schedules-")
        super().__init__(store, Path(self._folder.name))

    def create(self, plan: Plan, *, token: str, bundle: Path | None = None) -> str:
        if plan.facts.bundle and bundle:
            self._api.objects.put_once(self._address(token), bundle)
        return super().create(plan, token=token, bundle=bundle)

    def bundle(self, schedule: Stored) -> Path | None:
        kept = super().bundle(schedule)
        if kept is not None and not kept.exists():
            content = self._api.objects.get(self._address(schedule.token))
            if content is not None:
                part = kept.with_suffix(".part")
                part.write_bytes(content)
                os.replace(part, kept)
        return kept

    def delete(self, name: str) -> bool:
        with suppress(NotFoundError):
            token = self.book.get(name).token
            super().delete(name)
            self._api.objects.delete(self._address(token))
        return True

    def close(self) -> None:
        """Remove the copies."""
        self._folder.cleanup()

    def _address(self, token: str) -> str:
        return f"{self._api.config.staging}/schedules/{token}.tar.gz"
