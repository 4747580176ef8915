"""Dockerfiles, read: instructions with their words, and the variables in them. Pure; what they do is `image_build`'s.

https://docs.docker.com/reference/dockerfile/. Left out, and refused: here-documents, ONBUILD, HEALTHCHECK is read and kept,
the parser directive `escape`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

KNOWN = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "RUN", "SHELL",
    "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
)  # fmt: skip
_DIRECTIVE = re.compile(r"#\s*(?P<name>syntax|escape|check)\s*=\s*(?P<value>\S+)", re.IGNORECASE)
_VARIABLE = re.compile(r"\\(?P<escaped>\$)|\$(?:(?P<bare>\w+)|\{(?P<name>\w+)(?::(?P<how>[-+])(?P<other>[^}]*))?\})")
_FLAG = re.compile(r"--(?P<name>[a-z-]+)(?:=(?P<value>\S*))?(?:\s+|$)")


class DockerfileError(ValueError):
    """What cannot be read; the message names the line."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction. `words` are those of the exec form where `exec_form`; else `text` is what follows the flags, as written."""

    line: int
    name: str
    text: str
    words: tuple[str, ...] = ()
    exec_form: bool = False
    flags: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        flags = "".join(f"--{name}={value} " for name, value in self.flags.items())
        return f"{self.name} {flags}{self.text}"

    @property
    def command(self) -> tuple[str, ...]:
        """What RUN, CMD and ENTRYPOINT run: the exec form's words, or a shell with the text."""
        return self.words if self.exec_form else ("/bin/sh", "-c", self.text)


def parse(text: str) -> list[Instruction]:
    r"""The instructions of a Dockerfile.

    >>> [(found.name, found.words or found.text) for found in parse('FROM python:3.11 AS b\nCMD ["a", "b c"]')]
    [('FROM', 'python:3.11 AS b'), ('CMD', ('a', 'b c'))]

    Raises:
        DockerfileError: naming the line and what is wrong.
    """
    found = [_instruction(line, said) for line, said in _joined(text)]
    first = next((each for each in found if each.name != "ARG"), None)
    if first is None or first.name != "FROM":
        raise DockerfileError("dockerfile parse error: no build stage in current context: it must begin with FROM")
    return found


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Each instruction in one line, with the number of its first; comments and empty lines left out."""
    begun, said, directives = 0, "", True
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("#"):
            if (
                directives
                and (directive := _DIRECTIVE.match(stripped))
                and directive["name"].lower() == "escape"
                and directive["value"] != "\\"
            ):
                raise DockerfileError(f"dockerfile line {number}: the directive escape is not supported here")
            continue
        directives = False
        if not stripped:
            continue
        begun = begun or number
        if stripped.endswith("\\"):
            said += line.rstrip()[:-1].lstrip() if not said else line.rstrip()[:-1]
            continue
        yield begun, (said + (line if said else line.lstrip())).strip()
        begun, said = 0, ""
    if said.strip():
        yield begun, said.strip()


def _instruction(line: int, said: str) -> Instruction:
    name, _, rest = said.partition(" ")
    name, rest = name.upper(), rest.strip()
    if name not in KNOWN:
        raise DockerfileError(f"dockerfile line {line}: unknown instruction: {name}")
    if not rest:
        raise DockerfileError(f"dockerfile line {line}: {name} requires at least one argument")
    if re.search(r"<<-?\s*['\"]?\w", rest) and name in ("RUN", "COPY", "ADD"):
        raise DockerfileError(f"dockerfile line {line}: here-documents are not supported here")
    flags: dict[str, str] = {}
    while name in ("RUN", "COPY", "ADD", "FROM") and (flag := _FLAG.match(rest)):
        flags[flag["name"]] = flag["value"] or ""
        rest = rest[flag.end() :]
    words = _exec_form(rest) if name in ("RUN", "CMD", "ENTRYPOINT", "COPY", "ADD", "SHELL", "VOLUME") else None
    return Instruction(line, name, rest, words or (), words is not None, flags)


def _exec_form(text: str) -> tuple[str, ...] | None:
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except ValueError:  # as Docker has it: what is no JSON is the shell form
        return None
    return tuple(words) if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def pairs(instruction: Instruction, known: Mapping[str, str]) -> dict[str, str]:
    r"""The names and values of ENV, LABEL or ARG, variables put in; an ARG without a value has none here.

    >>> pairs(parse('FROM x\nENV A=1 B="two words" C=$A')[1], {"A": "0"})
    {'A': '1', 'B': 'two words', 'C': '0'}
    """
    text = instruction.text
    if "=" not in text.split(None, 1)[0]:
        name, _, value = text.partition(" ")  # the old form: ENV NAME the rest
        return {name: expanded(value.strip(), known)} if value.strip() else {}
    found = {}
    for word in split(instruction, text):
        name, equals, value = word.partition("=")
        if equals:
            found[name] = expanded(value, known)
    return found


def split(instruction: Instruction, text: str) -> list[str]:
    """Words as a shell splits them. Raises DockerfileError."""
    try:
        return shlex.split(text.replace("\\$", "\\\\$"))
    except ValueError as error:
        raise DockerfileError(f"dockerfile line {instruction.line}: {instruction.name}: {error}") from error


def expanded(text: str, known: Mapping[str, str]) -> str:
    """`$NAME`, `${NAME}`, `${NAME:-other}` and `${NAME:+other}` put in; what is not known is empty.

    >>> expanded("${A:-x}/$B/${C:+c}", {"B": "b", "C": "1"})
    'x/b/c'
    """

    def put(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        value = known.get(match["bare"] or match["name"], "")
        if match["how"] == "-":
            return value or expanded(match["other"], known)
        if match["how"] == "+":
            return expanded(match["other"], known) if value else ""
        return value

    return _VARIABLE.sub(put, text)
