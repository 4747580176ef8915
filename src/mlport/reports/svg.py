"""Small pieces of SVG: elements whose text is escaped by the XML writer, and axes with round numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from xml.etree import ElementTree as ET

NARROW, WIDE = 340, 720
"""The two widths that charts are drawn in, so that text stays as large as on the page: on a phone, and else."""
LETTER = 7.2
"""The width of a letter at the size of chart text, about."""


def canvas(width: int, height: float, name: str, title: str, text: str) -> ET.Element:
    """An image with a title and a description; `name` is what their ids begin with."""
    svg = ET.Element(
        "svg",
        {
            "viewBox": f"0 0 {width} {number(height)}",
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-desc",
            "class": "narrow" if width <= NARROW else "wide",
        },
    )
    ET.SubElement(svg, "title", {"id": f"{name}-title"}).text = title
    ET.SubElement(svg, "desc", {"id": f"{name}-desc"}).text = text
    return svg


def put(parent: ET.Element, tag: str, name: str, text: str = "", **places: float) -> ET.Element:
    """An element of class `name` at some places.

    >>> ET.tostring(put(ET.Element("g"), "text", "label", "a < b", x=1, y=2.50001), encoding="unicode")
    '<text class="label" x="1" y="2.5">a &lt; b</text>'
    """
    found = ET.SubElement(parent, tag, {"class": name, **{place: number(value) for place, value in places.items()}})
    found.text = text or None
    return found


def path(parent: ET.Element, name: str, pieces: Iterable[str]) -> ET.Element:
    """Many pieces as one element: a report has hundreds of drawings."""
    found = put(parent, "path", name)
    found.set("d", "".join(pieces) or "M0 0")
    return found


def written(svg: ET.Element) -> str:
    """The element as text that can stand in HTML."""
    return ET.tostring(svg, encoding="unicode", short_empty_elements=False)


def number(value: float) -> str:
    """A coordinate: two digits are finer than any screen."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def shortened(text: str, width: float) -> str:
    """As much of a text as fits, about.

    >>> shortened("nightly.hours", 60), shortened("hours", 60)
    ('nightly…', 'hours')
    """
    room = max(int(width / LETTER), 2)
    return text if len(text) <= room else f"{text[: room - 1]}…"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, their ends included: steps of 1, 2 or 5 times a power of ten.

    >>> ticks(0, 35217), ticks(0, 0.07, 3)
    ([0.0, 10000.0, 20000.0, 30000.0, 40000.0], [0.0, 0.05, 0.1])
    """
    if high <= low:
        high = low + max(abs(low), 1.0)
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def tick_text(value: float, step: float) -> str:
    """A tick's number, with as many digits as its step has.

    >>> tick_text(10000, 5000), tick_text(0.05, 0.05)
    ('10,000', '0.05')
    """
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{digits}f}"
