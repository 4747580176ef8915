"""Reading a registry behind a server: MLflow's client, with filter strings whose values are quoted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from mlport.errors import NotFoundError, SpecError
from mlport.spi import ModelRecord, Page, Query, VersionRecord
from mlport_local.registry import model_records as records

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Reads(Protocol):
    """How `LocalModels` looks things up, whichever way the registry is reached."""

    def find(self, tag: str, value: str) -> tuple[str, str] | None: ...

    def versions(self, name: str, query: Query, page: str | None) -> Page[VersionRecord]: ...

    def models(self, query: Query, page: str | None) -> Page[ModelRecord]: ...


def reads(client: MlflowClient) -> Reads:
    """The quickest way to read this client's registry: its tables where it is a database, else the client itself."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    from mlport_local.registry.model_sql import DatabaseReads

    store = client._get_registry_client().store
    return DatabaseReads(store) if isinstance(store, SqlAlchemyStore) else ClientReads(client)


class ClientReads:
    """Lookups through MLflow's public client."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def find(self, tag: str, value: str) -> tuple[str, str] | None:
        """The name and number of a version that carries the tag."""
        found = self._client.search_model_versions(search_filter(tags={tag: value}), max_results=1)
        return (found[0].name, str(found[0].version)) if found else None

    def versions(self, name: str, query: Query, page: str | None) -> Page[VersionRecord]:
        """One page by version number; the page token is the last number seen, so that it holds while versions come and go."""
        after = (("<" if query.newest_first else ">"), page) if page else None
        order = "version_number DESC" if query.newest_first else "version_number ASC"
        where = search_filter(name=name, tags=query.labels, version=after)
        found = self._client.search_model_versions(where, max_results=query.page_size, order_by=[order])
        aliases = self._aliases(name)
        items = [records.version_record(version, records.aliases_of(aliases, version.version)) for version in found]
        return Page(items, items[-1].version if found.token else None)

    def _aliases(self, name: str) -> Mapping[str, str]:
        found = self._client.search_registered_models(search_filter(name=name), max_results=1)
        if not found:
            raise NotFoundError(f"no model named {name!r}", hint="`mlport models list` shows those there are")
        return records.model_record(found[0]).aliases

    def models(self, query: Query, page: str | None) -> Page[ModelRecord]:
        """One page by the time of the last change; the page token is the server's."""
        order = "last_updated_timestamp DESC" if query.newest_first else "last_updated_timestamp ASC"
        where = search_filter(name=query.name, tags=query.labels)
        found = self._client.search_registered_models(where, max_results=query.page_size, order_by=[order], page_token=page)
        return Page([records.model_record(model) for model in found], found.token or None)


def search_filter(*, name: str | None = None, tags: Mapping[str, str] | None = None, version: tuple[str, str] | None = None) -> str | None:
    """The filter for a name, tags that must all be equal, and a bound on the version number; None for no filter.

    >>> search_filter(name="delays", tags={"team": "ops"}, version=("<", "7"))
    "name = 'delays' AND tags.`team` = 'ops' AND version_number < 7"
    """
    terms = [f"name = {_quoted(name)}"] if name is not None else []
    terms += [f"tags.`{key}` = {_quoted(value)}" for key, value in (tags or {}).items()]
    terms += [f"version_number {version[0]} {int(version[1])}"] if version else []
    return " AND ".join(terms) or None


def _quoted(value: str) -> str:
    """MLflow's grammar has two quotes and no escape, so a value with both cannot be searched for."""
    if "'" not in value:
        return f"'{value}'"
    if '"' not in value:
        return f'"{value}"'
    raise SpecError(f"cannot search for {value!r}: it holds both kinds of quote", hint="search for another label")
