"""GoogleSQL as the embedded engine takes it: a query is parsed, its tables are found, and it is written in DuckDB's words.

The translation is sqlglot's. What it does not translate fails in the engine with a message that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from mlport.emulation.sql import is_local
from mlport_vertex.emulator.storing.table_types import SQL, STANDARD, ValueProblem, scalar

Json = dict[str, Any]
Locate = Callable[[str, str, str], str]  # project (may be empty), dataset (may be empty), table -> schema of the engine
CHANGES: Mapping[type[exp.Expr], str] = {exp.Insert: "INSERT", exp.Update: "UPDATE", exp.Delete: "DELETE"}


class SqlProblem(Exception):  # noqa: N818 - told to the caller
    """A query that cannot be run, in BigQuery's words as far as they are known."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A query in the engine's words, its parameters' values, and its kind as BigQuery names it."""

    sql: str
    parameters: Mapping[str, Any]
    kind: str


def translated(query: str, parameters: list[Json], locate: Locate) -> Statement:
    """Raises SqlProblem."""
    try:
        statements = [each for each in sqlglot.parse(query, read="bigquery") if each is not None]
    except SqlglotError as error:
        found = (getattr(error, "errors", None) or [{}])[0]
        at = f" at [{found['line']}:{found['col']}]" if found.get("line") else ""
        raise SqlProblem(f"Syntax error: {found.get('description') or error}{at}") from error
    if len(statements) != 1:
        raise SqlProblem("The emulator runs one statement at a time." if statements else "Syntax error: Unexpected end of statement")
    statement = statements[0]
    kind = "SELECT" if isinstance(statement, exp.Query) else CHANGES.get(type(statement), "")
    if not kind:
        raise SqlProblem(f"The emulator runs SELECT, INSERT, UPDATE and DELETE, not {statement.key.upper()}.")
    if statement.args.get("returning"):  # the parser takes it, and BigQuery has no such clause
        raise SqlProblem("Syntax error: Expected end of input but got keyword RETURNING")
    if kind == "SELECT":
        _name_columns(statement)
    _point_tables(statement, locate)
    values = _bind(statement, parameters)
    return Statement(statement.sql("duckdb"), values, kind)


def _name_columns(statement: exp.Expr) -> None:
    """Columns without a name are f0_, f1_, ... https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#implicit_aliases."""
    select: exp.Expr = statement
    while isinstance(select, exp.SetOperation):
        select = select.left
    if not isinstance(select, exp.Select):
        return
    unnamed = [each for each in select.expressions if not isinstance(each, exp.Alias | exp.Column | exp.Dot | exp.Star)]
    for number, each in enumerate(unnamed):
        each.replace(exp.alias_(each.copy(), f"f{number}_", quoted=True))
    names = [each.alias_or_name.lower() for each in select.expressions if not isinstance(each, exp.Star) and not each.is_star]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SqlProblem(
            f"Duplicate column names in the result are not supported when a destination table is present. Found duplicate(s): {', '.join(twice)}"
        )


def _point_tables(statement: exp.Expr, locate: Locate) -> None:
    """Put the engine's schema in the place of project and dataset. A name that a WITH gives, or an array, is no table."""
    for table in list(statement.find_all(exp.Table)):
        if not isinstance(table.this, exp.Identifier) or (not table.db and is_local(table)):
            continue
        schema = locate(table.catalog, table.db, table.name)
        bare = table.name
        table.set("catalog", None)
        table.set("db", exp.to_identifier(schema, quoted=True))
        table.set("this", exp.to_identifier(bare, quoted=True))
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(bare, quoted=True)))


# ---------------------------------------------------------------- parameters


def _bind(statement: exp.Expr, parameters: list[Json]) -> Mapping[str, Any]:
    """Give each parameter of the query its type; the values, by the engine's names."""
    named = {each["name"].lower(): each for each in parameters if each.get("name")}
    positional = [each for each in parameters if not each.get("name")]
    values: dict[str, Any] = {}
    for node in list(statement.find_all(exp.Parameter, exp.Placeholder)):
        if isinstance(node, exp.Parameter):
            name = node.this.name if isinstance(node.this, exp.Expr) else str(node.this)
            found = named.get(name.lower())
            if found is None:
                raise SqlProblem(f"Query parameter '{name}' not found")
        else:
            name = f"p{len(values)}"
            if not positional:
                raise SqlProblem("Query contains positional parameters but not enough values were given")
            found = positional.pop(0)
        key = f"p_{name.lower()}"
        values[key], kind = _parameter(found)
        node.replace(exp.Cast(this=exp.Parameter(this=exp.Var(this=key)), to=exp.DataType.build(kind, dialect="duckdb")))
    return values


def _parameter(parameter: Json) -> tuple[Any, str]:
    """Value and the engine's type."""
    name, kind, value = parameter.get("name", ""), parameter["parameterType"], parameter["parameterValue"]
    if kind["type"].upper() == "ARRAY":
        inner = _kind(kind.get("arrayType", {}), name)
        return [_scalar(inner, each.get("value"), name) for each in value.get("arrayValues", [])], f"{SQL[inner]}[]"
    plain = _kind(kind, name)
    return _scalar(plain, value.get("value"), name), SQL[plain]


def _kind(kind: Json, name: str) -> str:
    given = str(kind.get("type", "")).upper()
    found = STANDARD.get(given, given)
    if found not in SQL:
        raise SqlProblem(f"The emulator has no query parameters of type {kind.get('type')}: {name}")
    return found


def _scalar(kind: str, value: Any, name: str) -> Any:
    if value is None:
        return None
    try:
        found = scalar(kind, value, name)
    except ValueProblem as problem:
        raise SqlProblem(f"Invalid value for parameter {name}: {problem.message}") from problem
    return found
