"""What Databricks' APIs take and answer, read from the source of its SDK: databricks/sdk/service/*.py.

That source is generated from Databricks' own OpenAPI documents, which are not published. Each method there names its verb
and path, puts its parameters into `body` or `query` under the names of the wire, and reads the answer into a dataclass; the
dataclasses and enums have the rest. It is read as text, a piece when it is asked for, and never run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from mlport_databricks.emulator.protocol.kinds import Field, Kind, kind_of

_BLOCK = re.compile(r"^(?:@dataclass\n)?class (\w+)", re.MULTILINE)
_METHOD = re.compile(r"^    def (\w+)\(", re.MULTILINE)
_RESOURCE = re.compile(r"/api/[^/]+/\{name\}(/|$)")  # whole resource names in the path's place: they cannot be told from other paths
_SIGNPOST = re.compile(r'^class (\w+)|^    def (\w+)\(|_api\.do\(\s*"([A-Z]+)",\s*f?"([^"]+)"', re.MULTILINE)
_PLACE = re.compile(r"\{([^{}]+)\}")
_NAME = re.compile(r"(\w+)(?:\.value)?\)*$")


@dataclass(frozen=True, slots=True)
class Method:
    """One call of an API: `template` is the path with `{parameter}`s, one without a slash before it spans several segments."""

    verb: str
    template: str
    module: str = ""
    api: str = ""
    name: str = ""
    arguments: Mapping[str, Field] = field(default_factory=dict)  # path and query
    body: Mapping[str, Field] | None = None  # fields of the JSON body; None where there is none, or one that is no JSON
    answer: Kind | None = None

    @property
    def key(self) -> str:
        return f"{self.verb} {self.template}"

    @property
    def id(self) -> str:
        """What it is called in the SDK, such as jobs.JobsAPI.submit."""
        return f"{self.module}.{self.api}.{self.name}"


def _folder() -> Path:
    """Where the SDK keeps its services. It is not imported: that would run them all."""
    spec = find_spec("databricks")
    for found in (spec.submodule_search_locations or ()) if spec else ():
        if (folder := Path(found, "sdk", "service")).is_dir():
            return folder
    raise ModuleNotFoundError("databricks-sdk", name="databricks.sdk")


@cache
def module(name: str) -> Mapping[str, str]:
    """The classes of a service module by name: their source."""
    text = (_folder() / f"{name}.py").read_text(encoding="utf-8")
    return _pieces(text, _BLOCK)


@cache
def index() -> Mapping[str, tuple[str, str, str]]:
    """Where each call is described, by its key such as `POST /api/2.2/jobs/runs/submit`: module, class and method, the first of several."""
    found: dict[str, tuple[str, str, str]] = {}
    for path in sorted(_folder().glob("*.py")):
        api = name = ""
        for a_class, a_method, verb, template in _SIGNPOST.findall(path.read_text(encoding="utf-8")):
            api, name = a_class or api, a_method or name
            if verb and not _RESOURCE.match(template):
                found.setdefault(f"{verb} {_template(template)}", (path.stem, api, name))
    return found


@cache
def method(key: str) -> Method:
    """The description of a call. Raises KeyError."""
    where, api, name = index()[key]
    verb, template = key.split(" ", 1)
    tree = ast.parse(_dedented(_methods(module(where)[api])[name])).body[0]
    assert isinstance(tree, ast.FunctionDef)  # noqa: S101 - that is what was looked for
    fields = _parameters(tree, where)
    named = {_NAME.search(part)[1] for part in _PLACE.findall(template)}  # type: ignore[index]
    in_path = {part: fields.get(part, Field(part, Kind("str"), True)) for part in named}
    query = _sent(tree, "query", fields)
    body = None if _sends(tree, "data") else _body(tree, fields, where)
    arguments = {**query, **{wire: Field(wire, each.kind, True) for wire, each in in_path.items()}}
    return Method(verb, template, where, api, name, arguments, body, _answer(tree, where))


@cache
def structure(where: str, name: str) -> Mapping[str, Field]:
    """The fields of a dataclass by the names of the wire, those without a default required. Raises KeyError."""
    source = module(where)[name]
    tree = ast.parse(source).body[0]
    assert isinstance(tree, ast.ClassDef)  # noqa: S101
    wire = {own: sent for sent, own in re.findall(r'body\["([^"]+)"\] = .*?\bself\.(\w+)', source)}
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            own = node.target.id
            sent = wire.get(own, own)
            found[sent] = Field(sent, kind_of(node.annotation, where), node.value is None)
    return found


@cache
def values(where: str, name: str) -> tuple[str, ...]:
    """The values of an enum. Raises KeyError."""
    return tuple(re.findall(r'^    \w+ = "([^"]*)"', module(where)[name], re.MULTILINE))


def is_enum(where: str, name: str) -> bool:
    return f"class {name}(Enum):" in module(where).get(name, "")


def _template(text: str) -> str:
    return _PLACE.sub(lambda match: "{" + _NAME.search(match[1])[1] + "}", text)  # type: ignore[index]


@cache
def _methods(block: str) -> Mapping[str, str]:
    return _pieces(block, _METHOD)


def _pieces(text: str, beginning: re.Pattern[str]) -> dict[str, str]:
    """The text cut where the pattern matches, each piece by the name in the pattern's group."""
    found = [(match.start(), match[1]) for match in beginning.finditer(text)]
    ends = [*(start for start, _ in found[1:]), len(text)]
    return {name: text[start:end] for (start, name), end in zip(found, ends, strict=False)}


def _dedented(source: str) -> str:
    """A method's source as a function's."""
    return re.sub(r"^    ", "", source, flags=re.MULTILINE)


def _parameters(tree: ast.FunctionDef, where: str) -> dict[str, Field]:
    """A method's parameters; those that have a default need not be sent."""
    plain = tree.args.args[1:]
    needless = {each.arg for each in plain[len(plain) - len(tree.args.defaults) :]} if tree.args.defaults else set()
    needless |= {each.arg for each, value in zip(tree.args.kwonlyargs, tree.args.kw_defaults, strict=True) if value is not None}
    return {
        each.arg: Field(each.arg, kind_of(each.annotation, where), each.arg not in needless) for each in (*plain, *tree.args.kwonlyargs)
    }


def _sent(tree: ast.FunctionDef, holder: str, fields: Mapping[str, Field]) -> dict[str, Field]:
    """What a method puts into `query` or `body`, by the names of the wire: `query["limit"] = limit`."""
    found: dict[str, Field] = {}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript)):
            continue
        target = node.targets[0]
        if not (isinstance(target.value, ast.Name) and target.value.id == holder and isinstance(target.slice, ast.Constant)):
            continue
        names = [each.id for each in ast.walk(node.value) if isinstance(each, ast.Name) and each.id in fields]
        wire = str(target.slice.value)
        if names:
            found.setdefault(wire, Field(wire, fields[names[0]].kind, fields[names[0]].required))
        else:  # a constant of the SDK's own: the client's side of paging
            found.setdefault(wire, Field(wire, Kind("any"), False))
    return found


def _body(tree: ast.FunctionDef, fields: Mapping[str, Field], where: str) -> dict[str, Field] | None:
    """The body's fields; those of the dataclass where a parameter is the body as a whole."""
    whole = next(
        (
            node.value.func.value.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == "body"
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Attribute)
            and isinstance(node.value.func.value, ast.Name)
        ),
        None,
    )
    if whole is not None:
        kind = fields[whole].kind
        return dict(structure(kind.module, kind.name))
    return _sent(tree, "body", fields) if _sends(tree, "body") else None


def _sends(tree: ast.FunctionDef, what: str) -> bool:
    """Whether `_api.do(...)` is given this."""
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "do"
        and any(keyword.arg == what for keyword in node.keywords)
        for node in ast.walk(tree)
    )


def _answer(tree: ast.FunctionDef, where: str) -> Kind | None:
    """The dataclass that the answer is read into; for a paged list one that has the field which is read."""
    item: Kind | None = None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "from_dict" and node.args:
            said = node.args[0]
            if isinstance(said, ast.Name) and said.id in ("res", "json", "op_response"):
                return kind_of(node.func.value, where)
            item = kind_of(node.func.value, where)
    listed = next(
        (
            str(node.slice.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and node.value.id == "json"
            and isinstance(node.slice, ast.Constant)
            and node.slice.value not in ("next_page_token", "next_page")  # the latter of clusters/events
        ),
        None,
    )
    return Kind("page", where, listed, item) if listed and item else None
