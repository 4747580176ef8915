"""A page as the text of one HTML file. Its content security policy lets nothing in but its own style sheet."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Iterator
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any

from mlport.errors import MissingExtraError
from mlport.reports.svg import NARROW, WIDE

if TYPE_CHECKING:
    from mlport.reports.blocks import Chart, Page

ADDRESS = re.compile(r"https?://[^\s<>\"']*[^\s<>\"'.,;:!?)\]]")
NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""What HTML does not allow in text, or UTF-8 cannot hold."""


def render(page: Page) -> str:
    """The file's text. Raises MissingExtraError without Jinja2."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise MissingExtraError("an HTML report needs Jinja2, which is not installed", hint="pip install 'mlport[reports]'") from error
    style = resources.files("mlport.reports").joinpath("page.css").read_text(encoding="utf-8")
    world = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=PackageLoader("mlport", "reports")
    )
    world.filters.update(linked=linked, exact=lambda cell: getattr(cell, "exact", None))
    numbers = itertools.count(1)

    def drawn(chart: Chart) -> Any:
        """The chart for a phone and for all else; the style sheet shows one of them."""
        widths = (NARROW,) if chart.small else (NARROW, WIDE)
        return Markup("").join(Markup(chart.draw(width, f"chart-{next(numbers)}")) for width in widths)  # noqa: S704 - written as XML

    found = world.get_template("page.html.j2").render(
        page=page,
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=style_hash(style),
        drawn=drawn,
        new_id=partial(next, itertools.count(1)),
    )
    return NOT_TEXT.sub("\ufffd", found)


def style_hash(style: str) -> str:
    """What a content security policy knows a style sheet by (Content Security Policy Level 3, hash-source)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}"


def linked(text: str) -> Iterator[tuple[str, bool]]:
    """A text in pieces, and whether each is an address.

    >>> list(linked("a list, https://example.org/a_(b), and more"))
    [('a list, ', False), ('https://example.org/a_(b', True), ('), and more', False)]
    """
    end = 0
    for found in ADDRESS.finditer(text):
        yield text[end : found.start()], False
        yield found.group(), True
        end = found.end()
    yield text[end:], False
