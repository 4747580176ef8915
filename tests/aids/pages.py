"""HTML as a tree, read strictly: every element must be closed by its own end tag."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input"}
NOTHING = "\u2013"
"""What a cell without a value shows."""


class Element:
    def __init__(self, tag: str, attributes: dict[str, str], parent: Element | None) -> None:
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children: list[Element | str] = []

    @property
    def text(self) -> str:
        return "".join(each if isinstance(each, str) else each.text for each in self.children)

    def all(self, tag: str = "") -> list[Element]:
        inner = [each for each in self.children if isinstance(each, Element)]
        return [each for child in inner for each in ([child] if tag in ("", child.tag) else []) + child.all(tag)]

    def one(self, tag: str) -> Element:
        (found,) = self.all(tag)
        return found


class Strict(HTMLParser):
    """A tree of a page's text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.at = Element("", {}, None)
        self.feed(text)
        self.close()
        assert self.at is self.root, f"<{self.at.tag}> is never closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> says something twice: {attrs}"
        found = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(found)
        self.at = self.at if tag in VOID else found

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"<{tag}/> is closed by no end tag")

    def handle_endtag(self, tag: str) -> None:
        assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.children.append(data)


def rows(tree: Element, caption: str) -> list[list[str]]:
    """The cells of the table of that name."""
    (found,) = [each for each in tree.all("table") if each.one("caption").text == caption]
    return [[cell.text.strip() for cell in row.children if isinstance(cell, Element)] for row in found.one("tbody").all("tr")]


def section(tree: Element, heading: str) -> Element:
    return next(each for each in tree.all("section") if each.one("h2").text == heading)


def assert_contained(tree: Element) -> None:
    """Nothing is loaded, nothing runs, and no id stands twice. Addresses in texts are links."""
    everything = tree.all()
    assert not {"script", "iframe", "object", "embed", "base", "form", "img", "use", "image"} & {each.tag for each in everything}
    for each in everything:
        assert not [name for name in each.attributes if name.startswith("on") or name in ("style", "src", "srcset", "xlink:href")]
        assert re.match(r"#section-\d+$|data:,$|https?://", each.attributes.get("href", "data:,"))
    assert any("default-src 'none'" in each.attributes.get("content", "") for each in tree.all("meta"))
    ids = [each.attributes["id"] for each in everything if "id" in each.attributes]
    assert len(ids) == len(set(ids))
