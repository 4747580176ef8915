"""Databricks SQL as the embedded engine takes it: a statement is parsed, its tables are found, and it is written in DuckDB's words.

The translation is sqlglot's; what it does not translate is refused, or fails in the engine, with a message that says so. Error
conditions, their words and SQLSTATEs are those of https://docs.databricks.com/error-messages as far as they are named there.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError, UnsupportedError

from mlport.emulation.sql import is_local

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # what it cannot parse is refused below, in our words
Json = dict[str, Any]
Locate = Callable[[str, str, str, str], str]
"""Catalog and schema (either may be empty), table, and the privilege that is needed -> schema of the engine. Raises SqlError."""
FILES = "files_of_volumes"
"""What the relations are called, with a number each, that stand for the files which a statement reads."""
CHANGES = (exp.Insert, exp.Update, exp.Delete)


class SqlError(Exception):
    """A statement that failed, as Databricks words it."""

    def __init__(self, condition: str, message: str, state: str) -> None:
        self.condition, self.state = condition, state
        self.message = f"[{condition}] {message} SQLSTATE: {state}"
        super().__init__(self.message)


def no_table(*parts: str) -> SqlError:
    name = ".".join(f"`{part}`" for part in parts if part)
    return SqlError(
        "TABLE_OR_VIEW_NOT_FOUND",
        f"The table or view {name} cannot be found. Verify the spelling and correctness of the schema and catalog.\n"
        "If you did not qualify the name with a schema, verify the current_schema() output, or qualify the name with the correct schema "
        "and catalog.\nTo tolerate the error on drop use DROP VIEW IF EXISTS or DROP TABLE IF EXISTS.",
        "42P01",
    )


def unsupported(what: str) -> SqlError:
    """Of the emulator; the real one can."""
    return SqlError("UNSUPPORTED_FEATURE", f"The emulator does not run this: {what}", "0A000")


@dataclass(frozen=True, slots=True)
class Name:
    """A table as a statement names it; parts that are left out are empty."""

    catalog: str
    schema: str
    table: str


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement in the engine's words. `kind` is query, change, create, drop or describe; the last three have a target.

    Of a create: whether it is to take the place of one that is there, and whether one that is there is left alone. `files` are the
    paths that it reads, in the order of the relations named FILES and a number.
    """

    kind: str
    sql: str = ""
    parameters: Mapping[str, Any] | None = None
    target: Name | None = None
    replaces: bool = False
    tolerant: bool = False
    columns: Sequence[tuple[str, str]] | None = None  # of a create that is not AS a query: name and the engine's type
    view: str | None = None  # of a create or a drop of a view: its query as Databricks has it, empty for a drop
    files: Sequence[str] = ()


def translated(text: str, parameters: Sequence[Json], locate: Locate) -> Statement:
    """Raises SqlError."""
    statement = _parsed(text)
    bound = _bind(statement, parameters)
    _resolve_identifiers(statement)
    used = {each.name for each in statement.find_all(exp.Parameter)}
    values = {name: value for name, value in bound.items() if name in used}
    files = _read_files(statement)
    if isinstance(statement, exp.Create):
        return replace(_create(statement, values, locate), files=files)
    if isinstance(statement, exp.Drop):
        if statement.args.get("kind") not in ("TABLE", "VIEW"):
            raise unsupported(f"DROP {statement.args.get('kind')}")
        view = "" if statement.args["kind"] == "VIEW" else None
        return Statement("drop", target=_name(_dropped(statement)), tolerant=bool(statement.args.get("exists")), view=view)
    if isinstance(statement, exp.Describe):
        return Statement("describe", target=_name(statement.this))
    if isinstance(statement, exp.Query | exp.Values):
        _name_columns(statement)
        _point_tables(statement, locate)
        return Statement("query", _written(statement), values, files=files)
    if isinstance(statement, CHANGES):
        if statement.args.get("overwrite"):
            raise unsupported("INSERT OVERWRITE")
        _point_tables(statement, locate, changed=statement.find(exp.Table))
        return Statement("change", _written(statement), values, files=files)
    raise unsupported(statement.key.upper())


def _parsed(text: str) -> exp.Expr:
    if not text.strip(" \n\t;"):
        raise SqlError("PARSE_EMPTY_STATEMENT", "Syntax error, unexpected empty statement.", "42617")
    try:
        statements = [each for each in sqlglot.parse(text, read="databricks") if each is not None]
    except SqlglotError as error:
        found = (getattr(error, "errors", None) or [{}])[0]
        near = found.get("highlight") or "end of input"
        at = f" (line {found['line']}, pos {found['col']})" if found.get("line") else ""
        raise SqlError("PARSE_SYNTAX_ERROR", f"Syntax error at or near '{near}'{at}.", "42601") from error
    if len(statements) != 1:
        raise SqlError("PARSE_SYNTAX_ERROR", "Syntax error at or near ';': extra input.", "42601")
    statement = statements[0]
    if isinstance(statement, exp.Command | exp.Column | exp.Alias):
        if dashed := re.match(r"(?is)\s*create\s+(?:or\s+replace\s+)?table\s+(?:if\s+not\s+exists\s+)?([\w.]+-[\w.-]+)", text):
            raise SqlError(
                "INVALID_IDENTIFIER",
                f"The unquoted identifier {dashed[1]} is invalid and must be back quoted as: `{dashed[1]}`. Unquoted identifiers can only "
                "contain ASCII letters ('a' - 'z', 'A' - 'Z'), digits ('0' - '9'), and underbar ('_').",
                "42602",
            )
        if isinstance(statement, exp.Command) and str(statement.this).upper() in (
            "SHOW",
            "CREATE",
            "ALTER",
            "GRANT",
            "REVOKE",
            "OPTIMIZE",
            "VACUUM",
        ):
            raise unsupported(" ".join(text.split()[:4]))
        raise SqlError("PARSE_SYNTAX_ERROR", f"Syntax error at or near '{text.split(maxsplit=1)[0]}' (line 1, pos 0).", "42601")
    return statement


def _written(statement: exp.Expr) -> str:
    for call in list(statement.find_all(exp.FromJson)):
        _use_structure(call)
    try:
        return statement.sql("duckdb", unsupported_level=ErrorLevel.RAISE)
    except UnsupportedError as error:
        raise unsupported(str(error)) from error


def _create(statement: exp.Create, values: Mapping[str, Any], locate: Locate) -> Statement:
    kind, defined, query = statement.args.get("kind"), statement.this, statement.expression
    if kind not in ("TABLE", "VIEW"):
        raise unsupported(f"CREATE {kind}")
    target = _name(defined.this if isinstance(defined, exp.Schema) else defined)
    made = Statement("create", target=target, replaces=bool(statement.args.get("replace")), tolerant=bool(statement.args.get("exists")))
    if query is not None:
        if not isinstance(query, exp.Query):
            raise unsupported(f"CREATE {kind} AS {query.key.upper()}")
        if kind == "VIEW":
            if values or isinstance(defined, exp.Schema) or any(table.meta.get(FILES) for table in query.find_all(exp.Table)):
                raise unsupported("a view with parameters, a list of columns, or files")
            made = replace(made, view=query.sql("databricks"))
        _name_columns(query)
        _point_tables(query, locate)
        return replace(made, sql=_written(query), parameters=values)
    if not isinstance(defined, exp.Schema):
        raise unsupported("a table without columns")
    kinds = [(each.name.lower(), each.args["kind"].sql("duckdb")) for each in defined.expressions if isinstance(each, exp.ColumnDef)]
    return replace(made, columns=kinds)


def _dropped(statement: exp.Drop) -> exp.Expr:
    found = statement.args["tables"]
    if len(found) != 1:
        raise unsupported("DROP TABLE of several tables")
    table: exp.Expr = found[0]
    return table


def _name(table: exp.Expr) -> Name:
    return Name(table.text("catalog").lower(), table.text("db").lower(), table.name.lower())


def _name_columns(statement: exp.Expr) -> None:
    """A column without a name is called as its expression is written: count(1), (2 + 2)."""
    select: exp.Expr = statement
    while isinstance(select, exp.SetOperation):
        select = select.left
    if not isinstance(select, exp.Select):
        return
    for each in select.expressions:
        if isinstance(each, exp.Alias | exp.Column | exp.Dot | exp.Star) or (each.is_star and not isinstance(each, exp.Func)):
            continue
        inner = each.unnest()
        text = inner.sql("databricks", normalize_functions="lower").replace("count(*)", "count(1)")
        each.replace(exp.alias_(each.copy(), f"({text})" if isinstance(inner, exp.Binary) else text, quoted=True))


def _point_tables(statement: exp.Expr, locate: Locate, changed: exp.Expr | None = None) -> None:
    """Put the engine's schema in the place of catalog and schema. A name that a WITH gives, or a function, is no table."""
    pointed = set()
    for table in list(statement.find_all(exp.Table)):
        if isinstance(table.this, exp.Anonymous) and table.this.name.lower() == "range":  # its column is called id
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.alias or "range"), columns=[exp.to_identifier("id")]))
        if not isinstance(table.this, exp.Identifier) or (not table.db and is_local(table)) or table.meta.get(FILES):
            continue
        name = _name(table)
        schema = locate(name.catalog, name.schema, name.table, "MODIFY" if table is changed else "SELECT")
        bare = table.name
        pointed.add((name.schema, name.table))
        table.set("catalog", None)
        table.set("db", exp.to_identifier(schema, quoted=True))
        table.set("this", exp.to_identifier(name.table, quoted=True))
        if not table.alias and table is not changed:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(bare, quoted=True)))
    for column in statement.find_all(exp.Column):  # main.ml.t.c and ml.t.c mean the table's alias
        if (column.db.lower(), column.table.lower()) in pointed:
            column.set("catalog", None)
            column.set("db", None)


def _read_files(statement: exp.Expr) -> list[str]:
    """Put a relation in the place of each read_files; the paths. Only Parquet, in volumes."""
    paths: list[str] = []
    for table in list(statement.find_all(exp.Table)):
        call = table.this
        if not isinstance(call, exp.Anonymous) or call.name.lower() != "read_files":
            continue
        path, *options = call.expressions
        given = {each.name.lower(): each.expression.name.lower() for each in options if isinstance(each, exp.Kwarg)}
        if not (isinstance(path, exp.Literal) and path.is_string and path.name.startswith("/Volumes/")) or given != {"format": "parquet"}:
            raise unsupported("read_files of anything but a path of a volume and format => 'parquet'")
        table.set("this", exp.to_identifier(f"{FILES}_{len(paths)}"))
        table.meta[FILES] = True
        paths.append(path.name)
    return paths


def _use_structure(call: exp.FromJson) -> None:
    """from_json takes a type in Databricks SQL and an example in the engine, where a text that is no JSON is an error and not NULL."""
    said = call.expression
    if not isinstance(said, exp.Literal) or call.args.get("options"):
        raise unsupported("from_json with anything but a schema in one text")
    valid = exp.Anonymous(this="json_valid", expressions=[call.this.copy()])
    call.set("this", exp.Case(ifs=[exp.If(this=valid, true=call.this.copy())]))
    call.set("expression", exp.Literal.string(json.dumps(_structure(_kind(said.name)))))


def _structure(kind: exp.DataType) -> Any:
    if kind.is_type("struct"):
        return {each.name: _structure(each.args["kind"]) for each in kind.expressions}
    return [_structure(kind.expressions[0])] if kind.is_type("array") else kind.sql("duckdb")


# ---------------------------------------------------------------- parameters


def _resolve_identifiers(statement: exp.Expr) -> None:
    """IDENTIFIER('main.ml.t') names a table."""
    for call in list(statement.find_all(exp.Anonymous)):
        if call.name.lower() != "identifier" or not isinstance(call.parent, exp.Table):
            continue
        said = call.expressions[0] if len(call.expressions) == 1 else None
        text = said.meta.get("text") if isinstance(said, exp.Cast) else said.name if isinstance(said, exp.Literal) else None
        if text is None:
            raise SqlError(
                "NOT_A_CONSTANT_STRING", "The expression used for the routine or clause IDENTIFIER must be a constant STRING.", "42601"
            )
        named = exp.to_table(text, dialect="databricks")
        for part in ("catalog", "db", "this"):
            call.parent.set(part, named.args.get(part))


def _bind(statement: exp.Expr, parameters: Sequence[Json]) -> Mapping[str, Any]:
    """Give each parameter of the statement its type; the values, by the engine's names."""
    given = {each["name"].lower(): each for each in parameters}
    values: dict[str, Any] = {}
    for node in list(statement.find_all(exp.Placeholder, exp.Parameter)):
        name = str(node.this.name if isinstance(node.this, exp.Expr) else node.this or "")
        found = given.get(name.lower())
        if found is None:
            raise SqlError("UNBOUND_SQL_PARAMETER", f"Found the unbound parameter: {name or '?'}. Please, fix `args` and provide a mapping of the parameter to either a SQL literal or collection constructor functions such as `map()`, `array()`, `struct()`.", "42P02")  # fmt: skip
        key = f"p_{name.lower()}"
        values[key] = found.get("value")
        cast = exp.Cast(this=exp.Parameter(this=exp.Var(this=key)), to=_kind(found.get("type") or "STRING"))
        cast.meta["text"] = found.get("value")
        node.replace(cast)
    return values


def _kind(text: str) -> exp.DataType:
    try:
        return exp.DataType.build(text, dialect="databricks")
    except (SqlglotError, ValueError) as error:
        raise SqlError("UNSUPPORTED_DATATYPE", f'Unsupported data type "{text.upper()}".', "0A000") from error
