"""YAML as a tree with line numbers: plain data only, bounded, without duplicates.

Built from the parser's events, so that the meaning YAML gives to a word (`no`, `010`, `1_000`) is
known beside the word itself, and no object is ever constructed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

MAX_BYTES = 1_000_000
MAX_DEPTH = 12
MAX_NODES = 10_000
WORD = "word"
"""The tag of a word from the command line, which needs no YAML."""
REFUSED = "refused"
"""The tag of a node whose problem was reported already."""


@dataclass(frozen=True, slots=True)
class ScenarioProblem:
    """One problem. `where`: file and line; `field`: dotted, "" for the whole file."""

    where: str
    field: str
    message: str
    line: int = 0

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.where, self.field, self.message)))


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """A position in the source."""

    where: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.where}:{self.line}" if self.line else self.where

    def problem(self, field: str, message: str) -> ScenarioProblem:
        return ScenarioProblem(str(self), field, message, self.line)


@dataclass(frozen=True, slots=True)
class TreeScalar:
    """One word. `tag`: its YAML type: str, int, float, bool, null, timestamp."""

    spot: SourcePosition
    text: str
    tag: str = "str"


@dataclass(frozen=True, slots=True)
class TreeList:
    """A list."""

    spot: SourcePosition
    nodes: tuple[TreeNode, ...]


@dataclass(frozen=True, slots=True)
class TreeMapping:
    """A mapping in order; `keys` has the position of each name."""

    spot: SourcePosition
    nodes: dict[str, TreeNode]
    keys: dict[str, SourcePosition]


TreeNode = TreeScalar | TreeList | TreeMapping


class UnreadableText(Exception):
    """Raised for text that is no tree of plain data."""

    def __init__(self, spot: SourcePosition, message: str) -> None:
        super().__init__(message)
        self.problem = spot.problem("", message)


def parse_tree(text: str, where: str) -> tuple[TreeNode | None, list[ScenarioProblem]]:
    """Return the tree (None for an empty file) and its problems. Raises UnreadableText."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise UnreadableText(SourcePosition(where), f"is larger than {MAX_BYTES:,} bytes.")
    reader = _Reader(where)
    try:
        # yaml's own ValueError: an invalid escape, or a number of a thousand digits.
        return reader.document(yaml.parse(text, Loader=yaml.SafeLoader)), reader.problems
    except yaml.MarkedYAMLError as why:
        mark = why.problem_mark or why.context_mark
        line = mark.line + 1 if mark else 0
        told = ", ".join(filter(None, (why.context, why.problem)))
        raise UnreadableText(SourcePosition(where, line), f"is not YAML: {told}.") from None
    except yaml.reader.ReaderError as why:
        line = text.count("\n", 0, why.position) + 1
        raise UnreadableText(
            SourcePosition(where, line), "holds a character that YAML does not allow."
        ) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise UnreadableText(SourcePosition(where), "is not YAML.") from None


def from_plain(data: Any, where: str, depth: int = 1) -> TreeNode:
    """Return the same tree from plain data. A text counts as a word of the command line.

    Raises UnreadableText.
    """
    spot = SourcePosition(where)
    if depth > MAX_DEPTH:
        raise _too_deep(spot)
    if isinstance(data, dict):
        nodes = {
            _sound(spot, str(name)): from_plain(each, where, depth + 1)
            for name, each in data.items()
        }
        return TreeMapping(spot, nodes, dict.fromkeys(nodes, spot))
    if isinstance(data, list | tuple):
        return TreeList(spot, tuple(from_plain(each, where, depth + 1) for each in data))
    if isinstance(data, str):
        return TreeScalar(spot, _sound(spot, data), WORD)
    if data is None:
        return TreeScalar(spot, "", "null")
    if isinstance(data, bool):
        return TreeScalar(spot, str(data).lower(), "bool")
    if isinstance(data, int):
        # Python refuses to print integers of thousands of digits.
        return TreeScalar(spot, str(data) if data.bit_length() < 1_000 else "a huge number", "int")
    return TreeScalar(spot, str(data)[:80], "float")


def _too_deep(spot: SourcePosition) -> UnreadableText:
    return UnreadableText(spot, f"is nested deeper than {MAX_DEPTH} levels.")


def _sound(spot: SourcePosition, text: str) -> str:
    """Return the text if it can be encoded as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnreadableText(spot, "holds half a character (\\ud800 to \\udfff).") from None
    return text


class _Reader:
    """Builds the tree from the events of one document."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.problems: list[ScenarioProblem] = []
        self._nodes = 0
        self._resolver = yaml.resolver.Resolver()

    def document(self, events: Iterator[yaml.Event]) -> TreeNode | None:
        root = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise UnreadableText(self._spot(event), "holds a second document (---).")
            if isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, ())
        if isinstance(root, TreeScalar) and root.tag == "null":
            return None
        return root

    def _spot(self, event: yaml.Event) -> SourcePosition:
        assert event.start_mark is not None
        return SourcePosition(self.where, event.start_mark.line + 1)

    def _node(
        self, event: yaml.Event, events: Iterator[yaml.Event], path: tuple[str, ...]
    ) -> TreeNode:
        spot = self._spot(event)
        if len(path) >= MAX_DEPTH:
            raise _too_deep(spot)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise UnreadableText(spot, f"holds more than {MAX_NODES:,} names and values.")
        told = len(self.problems)
        if getattr(event, "anchor", None) is not None:
            self._wrong(spot, path, "anchors and aliases (& and *) are not allowed.")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._wrong(spot, path, f"tags such as {tag[:40]} are not allowed.")
        refused = len(self.problems) > told
        node = self._content(spot, event, events, path)
        return TreeScalar(spot, "", REFUSED) if refused else node

    def _content(
        self,
        spot: SourcePosition,
        event: yaml.Event,
        events: Iterator[yaml.Event],
        path: tuple[str, ...],
    ) -> TreeNode:
        if isinstance(event, yaml.MappingStartEvent):
            return self._fields(spot, events, path)
        if isinstance(event, yaml.SequenceStartEvent):
            nodes: list[TreeNode] = []
            while not isinstance(event := next(events), yaml.SequenceEndEvent):
                nodes.append(self._node(event, events, (*path, str(len(nodes)))))
            return TreeList(spot, tuple(nodes))
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(spot, event)
        return TreeScalar(spot, "", REFUSED)  # An alias.

    def _wrong(self, spot: SourcePosition, path: tuple[str, ...], message: str) -> None:
        self.problems.append(spot.problem(dotted(path), message))

    def _scalar(self, spot: SourcePosition, event: yaml.ScalarEvent) -> TreeScalar:
        resolve: Callable[..., str] = self._resolver.resolve
        tag = resolve(yaml.ScalarNode, event.value, event.implicit)
        return TreeScalar(spot, _sound(spot, event.value), tag.rpartition(":")[2])

    def _fields(
        self, spot: SourcePosition, events: Iterator[yaml.Event], path: tuple[str, ...]
    ) -> TreeMapping:
        nodes: dict[str, TreeNode] = {}
        keys: dict[str, SourcePosition] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._node(event, events, (*path, "?"))
            name = key.text if isinstance(key, TreeScalar) else "?"
            value = self._node(next(events), events, (*path, name))
            if not isinstance(key, TreeScalar):
                self._wrong(key.spot, path, "the name of a field must be a word.")
            elif name in nodes:
                first = keys[name].line
                told = f"stands here a second time; the first is in line {first}."
                self._wrong(key.spot, (*path, name), told)
            else:
                nodes[name], keys[name] = value, key.spot
        return TreeMapping(spot, nodes, keys)


def is_refused(node: TreeNode) -> bool:
    """Return True if the problem of a node was reported already."""
    return isinstance(node, TreeScalar) and node.tag == REFUSED


def dotted(path: tuple[str, ...]) -> str:
    """Return the name of a field as problems and `--set` write it."""
    return "".join(c if c.isprintable() else "?" for c in ".".join(part[:80] for part in path))
