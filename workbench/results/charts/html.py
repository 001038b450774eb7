"""HTML that is escaped by default: text is text unless it is already `Html`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


class Html(str):
    """Finished markup. Only `el` and `join` make it."""

    __slots__ = ()


HtmlContent = str | int | float | None | Sequence["HtmlContent"]
VOID = {"meta", "link", "br"}


def join(content: HtmlContent) -> Html:
    """Return the markup of the parts, in order. None is nothing; plain text is escaped."""
    if content is None:
        return Html("")
    if isinstance(content, Html):
        return content
    if isinstance(content, str | int | float):
        return Html(escape(str(content)))
    return Html("".join(join(each) for each in content))


def el(name: str, /, *content: HtmlContent, **attributes: str | int | float | None) -> Html:
    """Return one element. `class_` is `class`, other underscores are hyphens; None leaves one
    out."""
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    end = "" if name in VOID else f"{join(content)}</{name}>"
    return Html(f"<{name}{pairs}>{end}")


def raw(text: str) -> Html:
    """Return our own style sheets and scripts unescaped."""
    return Html(text)
