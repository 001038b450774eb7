"""A strict reader of `.env`: a line that cannot be read, or a name that is nearly one of ours, is
an error with file and line. Otherwise the setting would silently not apply.

The grammar is that of python-dotenv. Values are never shown, because they may be keys.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.core.errors import InvalidSetting

if TYPE_CHECKING:
    from dotenv.parser import Binding

MOST_BYTES = 1_000_000
SHORT = 8
"""Names shorter than this are similar at a distance of one letter, longer ones at two."""
_OURS = re.compile(r"\s*(?:export\s+)?'?([A-Za-z_][A-Za-z0-9_-]*)'?\s*[=:]", re.ASCII)


def read_env_file(
    path: Path, known: Collection[str], environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return values by name. `known`: our names. `environ`: values for `${NAME}`, besides earlier
    lines.

    Raises InvalidSetting with `line` and, if it is one of ours, `setting`.
    """
    from dotenv.parser import parse_stream

    text = _text(path)
    around = os.environ if environ is None else environ
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for binding in parse_stream(io.StringIO(text)):
        line = _line(binding)
        where = f"{path.name}:{line}"
        if binding.error:
            raise _unreadable(where, line, binding.original.string, known)
        if binding.key is None:
            continue
        if binding.value is None:
            raise InvalidSetting(
                f"{where}: there is no = in this line.",
                hint="Write NAME=value; or # before it, if it is a remark.",
                line=line,
            )
        _refuse_near_name(where, line, binding.key, known)
        _refuse_swallowed(where, line, binding, known)
        value = _resolved(where, line, binding.key, binding.value, {**around, **found})
        if found.get(binding.key, value) != value:
            raise InvalidSetting(
                f"{where}: {binding.key} is set again, to another value than in line "
                f"{lines[binding.key]}.",
                hint="Keep one of the two lines.",
                line=line,
            )
        found[binding.key], lines[binding.key] = value, line
    return found


def _text(path: Path) -> str:
    """Return the text of the file. Raises InvalidSetting."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise InvalidSetting(f"{path.name} cannot be read: it is too long.", hint="Cut it.")
        return raw.decode("utf-8-sig")
    except (OSError, ValueError) as why:
        raise InvalidSetting(f"{path.name} cannot be read.", hint="Save it as UTF-8 text.") from why


def _line(binding: Binding) -> int:
    """Return the line of the binding, not of the blank lines before it."""
    original = binding.original
    blank = original.string[: len(original.string) - len(original.string.lstrip())]
    return original.line + len(re.findall(r"\r\n|\n|\r", blank))


def _unreadable(where: str, line: int, text: str, known: Collection[str]) -> InvalidSetting:
    """Return the error for a line that is not KEY=value."""
    found = _OURS.match(text)
    name = found[1] if found and found[1] in known else ""
    cause = "this line cannot be read"
    value = text[found.end() :].strip() if found else ""
    if found and found[0].endswith(":"):
        cause = "a colon stands where = belongs"
    elif value[:1] in ("'", '"'):
        is_closed = value.count(value[0]) > 1
        cause = "text follows the closing quote" if is_closed else "a quote is not closed"
    return InvalidSetting(
        f"{where}: {name + ': ' if name else ''}{cause}.",
        hint=f"Write {name or 'NAME'}=value, or {name or 'NAME'}='value' with nothing but a "
        "# remark behind it.",
        line=line,
        **({"setting": name} if name else {}),
    )


def _refuse_near_name(where: str, line: int, name: str, known: Collection[str]) -> None:
    """Raise InvalidSetting for an unknown name that is similar to one of ours."""
    if name in known:
        return
    near = nearest(name, known)
    if near:
        raise InvalidSetting(
            f"{where}: {name} is not a setting; {near} is one.",
            hint=f"Write {near}, or give what is not ours another name.",
            line=line,
            setting=near,
        )


def _refuse_swallowed(where: str, line: int, binding: Binding, known: Collection[str]) -> None:
    """Raise if a quote that is closed on a later line contains lines that look like settings.

    No setting of ours has two lines; a foreign one (a certificate, for example) may.
    """
    inner = re.split(r"\r\n|\n|\r", binding.value or "")
    swallowed = any((found := _OURS.match(each)) and found[1] in known for each in inner[1:])
    if swallowed or (len(inner) > 1 and binding.key in known):
        raise InvalidSetting(
            f"{where}: a quote is not closed in this line, but in one below it.",
            hint="Close it in the same line.",
            line=line,
        )


def _resolved(where: str, line: int, name: str, value: str, around: Mapping[str, str]) -> str:
    """Return the value with `${NAME}` and `${NAME:-default}` replaced."""
    from dotenv.variables import Variable, parse_variables

    atoms = list(parse_variables(value))
    for atom in atoms:
        if isinstance(atom, Variable) and atom.name not in around and atom.default is None:
            raise InvalidSetting(
                f"{where}: the value of {name} names a variable that is not set.",
                hint="Set it above this line or in the environment, or give it a default: "
                "${NAME:-default}.",
                line=line,
            )
    return "".join(atom.resolve(around) for atom in atoms)


# --- Names that are nearly ours ---


def nearest(name: str, known: Collection[str]) -> str:
    """Return the setting that a name most likely means, or ""."""
    plain, words = _plain(name), sorted(_words(name))
    for each in known:
        if plain == _plain(each) or words == sorted(_words(each)):
            return each
    upper = name.upper()
    near = [
        (distance(upper, each), each)
        for each in known
        if abs(len(each) - len(upper)) <= _limit(each)
    ]
    return next((each for far, each in sorted(near) if far <= _limit(each)), "")


def _limit(name: str) -> int:
    return 1 if len(name) < SHORT else 2


def _plain(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", name.upper())


def _words(name: str) -> Iterator[str]:
    return (word for word in re.split(r"[^A-Z0-9]+", name.upper()) if word)


def distance(one: str, other: str) -> int:
    """Return the edit distance (optimal string alignment): inserted, deleted, replaced and swapped
    letters."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        earlier, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                least = min(least, earlier[j - 2] + 1)
            row.append(least)
    return row[-1]
