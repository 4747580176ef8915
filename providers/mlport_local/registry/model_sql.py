"""Reading a registry that is a database: MLflow's own tables, asked for no more than is needed.

MLflow's searches read every version of a model to name its newest (0.27 s for a model of 50,000 versions) and
every tagged version twice to find one; the primary keys are there to answer both at once. Only reads are done
so, on the connections and classes of MLflow's own store. Over HTTP there is `model_search`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlport.errors import NotFoundError
from mlport.spi import ModelRecord, Page, Query, VersionRecord
from mlport_local.registry import model_records as records

if TYPE_CHECKING:
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    Condition = ColumnElement[bool]


class DatabaseReads:
    """What `LocalModels` asks of the registry's tables."""

    def __init__(self, store: SqlAlchemyStore) -> None:
        self._store = store

    def find(self, tag: str, value: str) -> tuple[str, str] | None:
        """The name and number of a version that carries the tag."""
        from mlflow.store.model_registry.dbmodels.models import SqlModelVersion as Version
        from mlflow.store.model_registry.dbmodels.models import SqlModelVersionTag as Tag

        with self._session() as session:
            query = session.query(Version.name, Version.version).join(Version.model_version_tags)
            row = query.filter(Tag.workspace == self._workspace, Tag.key == tag, Tag.value == value, _live()).first()
        return (row[0], str(row[1])) if row else None

    def aliases(self, name: str) -> dict[str, str]:
        """The version of each alias. Raises NotFoundError when there is no such model."""
        with self._session() as session:
            found = self._aliases(session, [name])[name] if self._named(session, name) else None
        if found is None:  # said out here: MLflow's sessions turn every error that passes through them into their own
            raise NotFoundError(f"no model named {name!r}", hint="`mlport models list` shows those there are")
        return found

    def versions(self, name: str, query: Query, page: str | None) -> Page[VersionRecord]:
        """One page by version number; the page token is the last number seen."""
        from mlflow.store.model_registry.dbmodels.models import SqlModelVersion as Version
        from sqlalchemy.orm import subqueryload

        order = Version.version.desc() if query.newest_first else Version.version.asc()
        found = [Version.workspace == self._workspace, Version.name == name, _live(), *self._labelled(name, query.labels)]
        if page is not None:
            found.append(Version.version < int(page) if query.newest_first else Version.version > int(page))
        with self._session() as session:
            chosen = session.query(Version).options(subqueryload(Version.model_version_tags)).filter(*found)
            rows = [row.to_mlflow_entity() for row in chosen.order_by(order).limit(query.page_size + 1)]
        aliases = self.aliases(name)
        items = [records.version_record(row, records.aliases_of(aliases, row.version)) for row in rows[: query.page_size]]
        return Page(items, items[-1].version if len(rows) > query.page_size else None)

    def _labelled(self, name: str, labels: Mapping[str, str]) -> list[Condition]:
        from mlflow.store.model_registry.dbmodels.models import SqlModelVersion as Version
        from mlflow.store.model_registry.dbmodels.models import SqlModelVersionTag as Tag
        from sqlalchemy import select

        among = select(Tag.version).where(Tag.workspace == self._workspace, Tag.name == name)
        return [Version.version.in_(among.where(Tag.key == key, Tag.value == value)) for key, value in labels.items()]

    def models(self, query: Query, page: str | None) -> Page[ModelRecord]:
        """One page by the time of the last change, then name; the page token is how many came before."""
        from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModel as Model
        from sqlalchemy.orm import subqueryload

        start = int(page or 0)
        changed = Model.last_updated_time.desc() if query.newest_first else Model.last_updated_time.asc()
        found = [Model.workspace == self._workspace, *([Model.name == query.name] if query.name else [])]
        found += [Model.registered_model_tags.any(key=key, value=value) for key, value in query.labels.items()]
        with self._session() as session:
            chosen = (
                session.query(Model, self._newest(Model)).options(subqueryload(Model.registered_model_tags)).filter(*found, _no_prompt())
            )
            rows = chosen.order_by(changed, Model.name).offset(start).limit(query.page_size + 1).all()
            shown = rows[: query.page_size]
            aliases = self._aliases(session, [model.name for model, _ in shown])
            items = [_record(model, newest, aliases[model.name]) for model, newest in shown]
        return Page(items, str(start + query.page_size) if len(rows) > query.page_size else None)

    def _newest(self, model: Any) -> Any:
        """The newest version of each model of a query, as a column of it; one look at the primary key for each."""
        from mlflow.store.model_registry.dbmodels.models import SqlModelVersion as Version
        from sqlalchemy import select

        found = select(Version.version).where(Version.workspace == model.workspace, Version.name == model.name, _live())
        return found.order_by(Version.version.desc()).limit(1).correlate(model).scalar_subquery()

    def _aliases(self, session: Session, names: Sequence[str]) -> dict[str, dict[str, str]]:
        """The version of each alias, for each of these models."""
        from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModelAlias as Alias

        found: dict[str, dict[str, str]] = {name: {} for name in names}
        rows = session.query(Alias.name, Alias.alias, Alias.version).filter(Alias.workspace == self._workspace, Alias.name.in_(names))
        for name, alias, version in rows:
            found[name][alias] = str(version)
        return found

    def _named(self, session: Session, name: str) -> bool:
        from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModel as Model

        return session.query(Model.name).filter(Model.workspace == self._workspace, Model.name == name).first() is not None

    def _session(self) -> Any:
        return self._store.ManagedSessionMaker()

    @property
    def _workspace(self) -> str:
        return str(self._store._get_active_workspace())


def _record(row: Any, newest: int | None, aliases: Mapping[str, str]) -> ModelRecord:
    return ModelRecord(
        name=row.name,
        latest_version=None if newest is None else str(newest),
        aliases=aliases,
        tags=records.own_tags({tag.key: tag.value for tag in row.registered_model_tags}),
        created=records.moment(row.creation_time),
    )


def _live() -> Condition:
    """MLflow keeps the rows of deleted versions."""
    from mlflow.entities.model_registry.model_version_stages import STAGE_DELETED_INTERNAL
    from mlflow.store.model_registry.dbmodels.models import SqlModelVersion as Version

    condition: Condition = Version.current_stage != STAGE_DELETED_INTERNAL
    return condition


def _no_prompt() -> Condition:
    """MLflow keeps prompts in the same table."""
    from mlflow.prompt.constants import IS_PROMPT_TAG_KEY
    from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModel as Model

    condition: Condition = ~Model.registered_model_tags.any(key=IS_PROMPT_TAG_KEY, value="true")
    return condition
