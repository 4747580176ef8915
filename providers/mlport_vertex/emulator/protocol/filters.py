"""Google's filter language (https://google.aip.dev/160, and Cloud Logging's dialect of it), read into a predicate.

    a = "x" AND (b : "y*" OR NOT c > 3) -labels.team:*

OR binds tighter than AND, and terms side by side are joined by AND: so AIP-160 says, and so Cloud Logging's page on its
query language. What a comparison means, the caller says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mlport_vertex.emulator.protocol.errors import ApiError

Path = tuple[str, ...]
Holds = Callable[[Path, str, str], bool]  # (field, operator, value); the field is empty for a value that stands alone
Predicate = Callable[[Holds], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[()]|<=|>=|!=|=~|!~|[=<>:]|-(?=\S))|"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<word>[^\s()"'=<>!:]+))"""
)
_VALUE = re.compile(r"""\s*(?P<word>[^\s()"',]+)""")
_OPERATORS = ("=", "!=", "<", "<=", ">", ">=", ":", "=~", "!~")


def predicate(text: str) -> Predicate:
    """What a filter says; nothing said holds for everything. Raises ApiError.

    >>> said = predicate('state="RUNNING" AND NOT labels.team:*')
    >>> said(lambda field, operator, value: field == ("state",))
    True
    """
    if not text.strip():
        return lambda holds: True
    parser = _Parser(text)
    found = parser.all_of()
    parser.end()
    return found


def refused(text: str, why: str) -> ApiError:
    """A filter that cannot be read. Which words Google finds for it was not seen: a guess."""
    return ApiError("INVALID_ARGUMENT", f"Invalid filter: {why}. Filter: {text}")


class _Parser:
    """Recursive descent, one token ahead."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def _look(self) -> tuple[str, str, int]:
        """Kind, text and end of the next token; kind is empty at the end."""
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            if self._text[self._at :].strip():
                raise self._error()
            return "", "", len(self._text)
        kind = str(found.lastgroup)
        said = found[kind]
        return ("text", re.sub(r"\\(.)", r"\1", said), found.end()) if kind in ("double", "single") else (kind, said, found.end())

    def _error(self) -> ApiError:
        return refused(self._text, f"syntax error at position {self._at}")

    def _take(self, kind: str, said: str) -> bool:
        found, text, end = self._look()
        if (found, text) != (kind, said):
            return False
        self._at = end
        return True

    def end(self) -> None:
        if self._look()[0]:
            raise self._error()

    def all_of(self) -> Predicate:
        """Terms joined by AND, or standing side by side."""
        terms = [self._any_of()]
        while self._take("word", "AND") or self._look()[:2] not in (("", ""), ("mark", ")")):
            terms.append(self._any_of())
        return terms[0] if len(terms) == 1 else lambda holds: all(term(holds) for term in terms)

    def _any_of(self) -> Predicate:
        terms = [self._term()]
        while self._take("word", "OR"):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else lambda holds: any(term(holds) for term in terms)

    def _term(self) -> Predicate:
        if self._take("word", "NOT") or self._take("mark", "-"):
            inner = self._term()
            return lambda holds: not inner(holds)
        if self._take("mark", "("):
            inner = self.all_of()
            self._close()
            return inner
        return self._comparison()

    def _close(self) -> None:
        if not self._take("mark", ")"):
            raise self._error()

    def _comparison(self) -> Predicate:
        first_kind, first, end = self._look()
        if first_kind not in ("word", "text"):
            raise self._error()
        self._at = end
        said = first
        while first_kind == "word" and said.endswith(".") and self._look()[0] == "text":  # labels."a key"
            _, quoted, self._at = self._look()
            said += quoted.replace(".", "\0")
            if self._text[self._at : self._at + 1] == ".":
                _, more, self._at = self._look()
                said += more
        kind, operator, end = self._look()
        if kind != "mark" or operator not in _OPERATORS:
            return lambda holds: holds((), ":", first)
        self._at = end
        path = tuple(part.replace("\0", ".") for part in said.split("."))
        return self._against(path, operator)

    def _against(self, path: Path, operator: str) -> Predicate:
        """One value, or several in parentheses: `severity = (ERROR OR CRITICAL)`."""
        if not self._take("mark", "("):
            value = self._value()
            return lambda holds: holds(path, operator, value)
        values, joined = [self._value()], "OR"
        while not self._take("mark", ")"):
            joined = "AND" if self._take("word", "AND") else "OR"
            if joined == "OR" and not self._take("word", "OR"):
                raise self._error()
            values.append(self._value())
        some = all if joined == "AND" else any
        return lambda holds: some(holds(path, operator, value) for value in values)

    def _value(self) -> str:
        kind, said, end = self._look()
        if kind == "text":
            self._at = end
            return said
        found = _VALUE.match(self._text, self._at)
        if found is None:
            raise self._error()
        self._at = found.end()
        return str(found["word"])


def compared(operator: str, found: Any, wanted: Any) -> bool:
    """The six operators that order has, of two values of one kind.

    >>> compared("<=", 1, 2), compared("!=", "a", "a")
    (True, False)
    """
    if operator in ("=", "!="):
        return bool((found == wanted) is (operator == "="))
    return bool({"<": found < wanted, "<=": found <= wanted, ">": found > wanted, ">=": found >= wanted}[operator])


def fits(pattern: str, text: str) -> bool:
    """Whether the whole text fits a pattern in which * stands for anything.

    >>> fits("my_job_*", "my_job_7"), fits("job", "my_job")
    (True, False)
    """
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text, re.DOTALL) is not None
