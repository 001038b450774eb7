"""Reads a Dockerfile and its .dockerignore, as far as ours go: for a test and for the rehearsal."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """One instruction. `flags`: `--from=build`; `text`: the rest, continuations joined."""

    name: str
    flags: tuple[str, ...]
    text: str

    @property
    def words(self) -> list[str]:
        """The exec form's words, or those between blanks."""
        return [str(w) for w in json.loads(self.text)] if self.is_exec else shlex.split(self.text)

    @property
    def is_exec(self) -> bool:
        return self.text.startswith("[")


@dataclass
class Stage:
    """What stands between two FROM."""

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)

    def all(self, name: str) -> list[Step]:
        return [step for step in self.steps if step.name == name]

    def last(self, name: str) -> Step:
        return self.all(name)[-1]


def read_dockerfile(text: str) -> list[Stage]:
    """The stages, with ARGs before the first FROM put in."""
    plain = re.sub(r"(?m)^\s*#.*\n", "", text)
    lines = re.sub(r"\\\n", " ", plain).splitlines()
    given: dict[str, str] = {}
    stages: list[Stage] = []
    for line in filter(str.strip, lines):
        name, _, rest = line.strip().partition(" ")
        flags = re.match(r"(?:--\S+\s+)*", rest.strip())
        assert flags is not None
        step = Step(name, tuple(flags[0].split()), rest.strip()[flags.end() :])
        if name == "FROM":
            base, _, named = filled(step.text, given).partition(" AS ")
            stages.append(Stage(base, named or str(len(stages))))
        elif name == "ARG" and not stages:
            key, _, value = step.text.partition("=")
            given[key] = value
        else:
            stages[-1].steps.append(step)
    return stages


def filled(text: str, given: Mapping[str, str]) -> str:
    """Variables put in, `${NAME}` or `$NAME`."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: given.get(found[1], ""), text)


def context(root: Path) -> list[Path]:
    """The files that .dockerignore lets through, from the root; its last line that fits decides."""
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    assert rules[0] == "*", "all that is not named stays outside"
    paths = [path.relative_to(root) for path in _below(root, rules) if path.is_file()]
    return sorted(path for path in paths if _passes(path, rules))


def _below(root: Path, rules: list[str]) -> Iterator[Path]:
    """What the exceptions name, and all below it: the rest need not be looked at."""
    for rule in rules:
        if rule.startswith("!"):
            yield root / rule[1:]
            yield from (root / rule[1:]).rglob("*")


def _passes(path: Path, rules: list[str]) -> bool:
    """A rule fits a path if it fits it or a folder above it."""
    passes = True
    for rule in rules:
        pattern = rule.removeprefix("!")
        for part in (path, *path.parents):
            name = part.name if pattern.startswith("**/") else part.as_posix()
            if fnmatch.fnmatch(name, pattern.removeprefix("**/")):
                passes = rule.startswith("!")
    return passes


def stage_context(root: Path, to: Path) -> None:
    """A copy of what the engine would be sent."""
    for path in context(root):
        (to / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, to / path)
