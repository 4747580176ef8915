"""What a page is made of. All text is plain: it is escaped when the page is written, and addresses in it become links."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar, Literal


@dataclass(frozen=True, slots=True)
class Amount:
    """A number as it is shown, with the whole of it for programs that read the page; None where there is none, and `text` says why."""

    value: Decimal | float | None
    text: str

    @property
    def exact(self) -> str | None:
        """The number without rounding.

        >>> Amount(Decimal("1E+3"), "1,000").exact, Amount(None, "unpriced").exact
        ('1000', None)
        """
        return None if self.value is None else f"{self.value:f}" if isinstance(self.value, Decimal) else repr(self.value)


Cell = str | Amount | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns; the first cell of a row names it. `numbers` are the columns set to the right.

    With `stack`, each row becomes a card on a phone; without, the table scrolls sideways there. `short` is for few narrow columns on a page
    with hundreds of such tables: a third of the bytes, numbers without the whole of them, nothing to scroll.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numbers: frozenset[str] = frozenset()
    stack: bool = False
    short: bool = False
    kind: ClassVar[str] = "table"


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a chart's legend: the number of its colour, and whether it is an area, a line, a dot with a number, or a cell of a heat map."""

    colour: int
    name: str
    form: Literal["area", "line", "dot", "heat", "cross"] = "area"


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing for any width (`draw(width, id)` gives SVG), what it shows in words, and the same as a table.

    One that is `small` is drawn once, as wide as a phone.
    """

    title: str
    text: str
    draw: Callable[[int, str], str]
    table: Table
    legend: Sequence[Key] = ()
    small: bool = False
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; `tone` is how much it matters."""

    text: str
    tone: Literal["plain", "quiet", "warning"] = "plain"
    kind: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading within a section."""

    text: str
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True, slots=True)
class Points:
    """A list, with a heading if it has one."""

    items: Sequence[str]
    title: str = ""
    kind: ClassVar[str] = "points"


@dataclass(frozen=True, slots=True)
class Fold:
    """What is shown when asked for, and always in print."""

    title: str
    blocks: Sequence[Block]
    kind: ClassVar[str] = "fold"


@dataclass(frozen=True, slots=True)
class Side:
    """Blocks beside each other where there is room."""

    blocks: Sequence[Block]
    kind: ClassVar[str] = "side"


Block = Table | Chart | Text | Heading | Points | Fold | Side


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page, with its heading."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Page:
    """A whole report: what it is, what it says in one sentence, of when and of what, and its sections."""

    title: str
    lead: str
    about: str
    sections: Sequence[Section]
