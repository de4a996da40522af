"""HTML elements from plain text: what is not an element already is escaped, so that nothing a user wrote is markup."""

from __future__ import annotations

import html

VOID = frozenset({"img", "meta"})


class Markup(str):
    """Text that is HTML already: what `element` returns."""


def text(value: str) -> Markup:
    """Plain text as HTML, safe inside elements and quoted attributes; what UTF-8 cannot hold becomes '?'."""
    return Markup(html.escape(value.encode("utf-8", "replace").decode("utf-8"), quote=True))


def join(*children: str) -> Markup:
    """The children one after another; plain strings among them are escaped."""
    return Markup("".join(child if isinstance(child, Markup) else text(child) for child in children))


def element(name: str, /, *children: str, **attributes: str | bool) -> Markup:
    """<name attributes>children</name>, with plain strings among children and attributes escaped.

    A trailing `_` of an attribute's name falls off (`class_`), others become `-`. An attribute that is True stands
    alone, one that is False is left out.
    """
    parts = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(f" {key}")
        elif value is not False:
            parts.append(f' {key}="{text(value)}"')
    start = f"<{name}{''.join(parts)}>"
    return Markup(start if name in VOID else f"{start}{join(*children)}</{name}>")
