"""Actions on a page with the lanes module: press keys, move the mouse, read colours."""

from __future__ import annotations

from collections.abc import Callable

from tests.lab.page import LANES, LanesPage

WIDTH, HEIGHT = 1144, 882

Open = Callable[..., LanesPage]


def middle_of(page: LanesPage, lane: int, at_ms: float) -> tuple[float, float]:
    """A point of the plot: the middle of a lane's row, at a time of the fitted view."""
    found = page.browser.eval(
        f"(() => {{ const {{ rows, scale }} = view.look();"
        f" return [scale.x({at_ms}), scale.y(rows.indexOf({lane}))]; }})()"
    )
    return found[0], found[1]


def colours_at(page: LanesPage, x: float, y: float) -> list[str]:
    """What the three canvases hold there, as #rrggbb; "" where nothing is drawn."""
    layers = page.browser.eval(f"pixel({x}, {y})")
    return [f"#{r:02x}{g:02x}{b:02x}" if a == 255 else "" for r, g, b, a in layers]


def box_of(page: LanesPage, selector: str) -> dict[str, float]:
    found: dict[str, float] = page.browser.eval(
        f"document.querySelector('{selector}').getBoundingClientRect().toJSON()"
    )
    return found


def keys(page: LanesPage, *names: str, **more: object) -> None:
    for name in names:
        page.browser.key(name, **more)
    page.settle()


def focus(page: LanesPage) -> None:
    page.browser.eval(f"{LANES}.focus()")
