"""What emulated warehouses have to know of a query, whatever the vendor's dialect of it."""

from __future__ import annotations

from sqlglot import exp


def is_local(table: exp.Table) -> bool:
    """Whether a WITH of an enclosing query gives the name."""
    node: exp.Expr | None = table
    while node is not None:
        given = node.args.get("with_") or node.args.get("with")
        if given and any(each.alias.lower() == table.name.lower() for each in given.expressions):
            return True
        node = node.parent
    return False
