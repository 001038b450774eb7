"""The documents of the repository, and the code in them.

Guides are what a user reads: README.md and docs/*.md. Tests run the code of their how-tos, so that
what they show works.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """One fenced block."""

    path: str
    """The document, relative to the top folder."""
    language: str
    """The word behind the opening fence; empty if there is none."""
    text: str


def documents() -> dict[str, str]:
    """Return the text of each guide, by path: README.md, then docs/*.md."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def all_documents() -> dict[str, str]:
    """Return the text of every Markdown file that git tracks or would track, by path."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [path for path in listed.stdout.splitlines() if (ROOT / path).exists()]
    return {path: (ROOT / path).read_text(encoding="utf-8") for path in paths}


def without_code(text: str) -> str:
    """Return a document without fenced blocks and inline code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))


def code_blocks(guides: dict[str, str], *languages: str) -> Iterator[CodeBlock]:
    """Yield the fenced blocks in these languages, or all of them."""
    for path, text in guides.items():
        for language, code in FENCE.findall(text):
            if not languages or language in languages:
                yield CodeBlock(path, language, code)


def how_to(title: str) -> str:
    """Return the first block with a language under this heading of a guide.

    Raises LookupError unless exactly one guide has the heading, and code below it.
    """
    sections = [part for text in documents().values() if (part := _section(text, title))]
    if len(sections) != 1:
        raise LookupError(f"{len(sections)} guides have a section {title!r} with text")
    found = [code for language, code in FENCE.findall(sections[0]) if language]
    if not found:
        raise LookupError(f"the section {title!r} has no code")
    return str(found[0])


def _section(text: str, title: str) -> str:
    """Return the text from a heading to the next one of the same or a higher level."""
    headings = list(HEADING.finditer(FENCE.sub(lambda match: "\0" * len(match[0]), text)))
    for n, heading in enumerate(headings):
        if heading[2] == title:
            level = len(heading[1])
            ends = (h.start() for h in headings[n + 1 :] if len(h[1]) <= level)
            return text[heading.end() : next(ends, len(text))]
    return ""
