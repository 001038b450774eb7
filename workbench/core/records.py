"""Frozen dataclasses that are created as fast as mutable ones.

A frozen dataclass sets each field through `object.__setattr__`, which takes ten times as long as an
assignment; `dataclasses.replace` inspects each field again. A settlement creates a thousand fields
of facts, slots and terms: four per cent of the time of a simulated world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

Record = TypeVar("Record")


def quick(kind: type[Record]) -> type[Record]:
    """Return the same frozen dataclass with slots and a fast `__init__`.

    During `__init__` a record has a mutable class; afterwards it is of `kind`, and frozen. Fields
    must not have a `default_factory`.
    """
    assign = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    opened = type(kind.__name__, (kind,), {"__slots__": (), **assign})
    known: dict[str, Any] = {"become": object.__setattr__, "Kind": kind, "Open": opened}
    own = [each for each in fields(kind) if each.init]  # type: ignore[arg-type]
    plain = [_parameter(each, known) for each in own if not each.kw_only]
    named = [_parameter(each, known) for each in own if each.kw_only]
    told = ", ".join(["self", *plain, *(["*", *named] if named else [])])
    lines = [f"def __init__({told}):", "become(self, '__class__', Open)"]
    lines += [f"self.{each.name} = {each.name}" for each in own]
    lines += ["self.__class__ = Kind"]
    lines += ["self.__post_init__()"] if hasattr(kind, "__post_init__") else []
    exec("\n  ".join(lines), known)  # noqa: S102 - as `dataclasses` does; names of fields only
    made = known["__init__"]
    made.__qualname__ = f"{kind.__qualname__}.__init__"
    kind.__init__ = made  # type: ignore[method-assign]
    return kind


def _parameter(each: Field[Any], known: dict[str, Any]) -> str:
    assert each.default_factory is MISSING, f"{each.name} would have to be made anew each time"
    if each.default is MISSING:
        return each.name
    known[f"default_{each.name}"] = each.default
    return f"{each.name}=default_{each.name}"


@lru_cache(1_024)
def copier(kind: type[Record], names: tuple[str, ...]) -> Callable[..., Record]:
    """Return a function that copies a record (first argument) with new values for these fields, in
    order."""
    own = {each.name: each.kw_only for each in fields(kind) if each.init}  # type: ignore[arg-type]
    strange = sorted(set(names) - set(own))
    if strange:
        raise TypeError(f"{kind.__name__} has no field {', '.join(strange)}")
    source = {name: name if name in names else f"record.{name}" for name in own}
    values = [source[name] for name in own if not own[name]]  # By position: keywords take longer.
    values += [f"{name}={source[name]}" for name in own if own[name]]
    text = f"lambda record, {', '.join(names)}: Kind({', '.join(values)})"
    made: Callable[..., Record] = compiled(text, {"Kind": kind})
    return made


def compiled(text: str, known: dict[str, Any]) -> Callable[..., Any]:
    """Return a function from the text of a lambda. The text holds names of our own fields only."""
    made: Callable[..., Any] = eval(text, known)  # noqa: S307 - see above
    return made


if TYPE_CHECKING:
    from dataclasses import replace as replace
else:

    def replace(record: Any, **changes: Any) -> Any:
        """Return a copy with other values, as `dataclasses.replace`. The code is compiled once for
        each set of fields."""
        return copier(type(record), tuple(changes))(record, **changes)
