"""Reads a tree of words by the table into values, and collects every problem."""

from __future__ import annotations

import json
from typing import Any

from workbench.scenario.kinds import NONE, ValueKind, closest
from workbench.scenario.measures import InvalidValue
from workbench.scenario.model import FAULT_SITES, Fault
from workbench.scenario.table import FAULTS, TableField, TableSection
from workbench.scenario.tree import (
    ScenarioProblem,
    SourcePosition,
    TreeList,
    TreeMapping,
    TreeNode,
    TreeScalar,
    dotted,
    is_refused,
)

FieldPath = tuple[str, ...]


class Reading:
    """One pass over a tree: the values, and the problems."""

    def __init__(self, problems: list[ScenarioProblem]) -> None:
        self.problems = problems
        self._sound = not problems  # Otherwise a missing value would be reported twice.
        self._spots: dict[str, SourcePosition] = {}

    def at(self, field: str) -> SourcePosition:
        """Return the position of a field, or of its section if it has its default."""
        while field and field not in self._spots:
            field = field.rpartition(".")[0]
        return self._spots[field]

    def _wrong(self, spot: SourcePosition, path: FieldPath, message: str) -> None:
        self.problems.append(spot.problem(dotted(path), message))

    def fields(
        self, section: TableSection, node: TreeNode, path: FieldPath, also: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Return attributes and values of all fields that can be read."""
        self._spots.setdefault(dotted(path), node.spot)
        if is_refused(node):
            return {}
        if not isinstance(node, TreeMapping):
            known = ", ".join(item.name for item in section.items)
            self._wrong(node.spot, path, f"must be a mapping of fields: {known}.")
            return {}
        values: dict[str, Any] = {}
        model = self._model(section, node)
        for name, each in node.nodes.items():
            at, spot = (*path, name), node.keys[name]
            self._spots[dotted(at)] = spot
            item = section.item(name)
            if item and (model is None or item.used_by(model)):
                values.update(self._item(item, each, at))
            elif item:
                told = f'has no meaning for model "{model}", only for {", ".join(item.only)}.'
                self._wrong(spot, at, told)
            elif name not in also:
                names = [item.name for item in section.items if item.used_by(model or "")]
                self._wrong(spot, at, f"is an unknown field{closest(name, (*names, *also))}")
        for item in section.items:
            if item.needed_by(model or "") and item.name not in node.nodes:
                example = _example(item)
                self._wrong(node.spot, (*path, item.name), f"is missing; write {example}.")
        return values

    def _model(self, section: TableSection, node: TreeMapping) -> str | None:
        """Return the section's model; "" without one, None if it cannot be read."""
        item = section.item("model")
        if item is None:
            return ""
        given = node.nodes.get("model")
        if given is None:
            return str(section.default("model"))
        assert isinstance(item.kind, ValueKind)
        try:
            return str(item.kind.read(given)) if isinstance(given, TreeScalar) else None
        except InvalidValue:
            return None

    def _item(self, item: TableField, node: TreeNode, path: FieldPath) -> dict[str, Any]:
        if is_refused(node):
            return {}
        if isinstance(item.kind, ValueKind):
            return self._word(item, item.kind, node, path)
        (attribute,) = item.into
        if item.optional and isinstance(node, TreeScalar) and node.text == NONE:
            return {attribute: () if item.many else None}
        if not item.many:
            made = self._make(item.kind, node, path)
            return {} if made is None else {attribute: made}
        if not isinstance(node, TreeList) or not (node.nodes or item.optional):
            self._wrong(node.spot, path, "must be a list, each with a dash: `- count: 20`.")
            return {}
        each = [self._make(item.kind, one, (*path, str(n))) for n, one in enumerate(node.nodes)]
        return {attribute: tuple(each)}

    def _make(self, section: TableSection, node: TreeNode, path: FieldPath) -> Any:
        before = len(self.problems)
        values = self.fields(section, node, path)
        made = self._sound and len(self.problems) == before
        return section.make(**values) if made else None

    def _word(
        self, item: TableField, kind: ValueKind, node: TreeNode, path: FieldPath
    ) -> dict[str, Any]:
        if not isinstance(node, TreeScalar):
            self._wrong(node.spot, path, f"must be one value; write such as {kind.example}.")
            return {}
        try:
            value = kind.read(node)
        except InvalidValue as why:
            told = f"{shown(node.text)} {why}" if node.tag != "null" else str(why)
            advice = "" if why.advised else f"; write such as {kind.example}."
            self._wrong(node.spot, path, told + advice)
            return {}
        return dict(zip(item.into, (value,) if len(item.into) == 1 else value, strict=True))

    def faults(self, root: TreeNode, duration_s: int) -> tuple[Fault, ...]:
        """Return all faults, by site in the order of FAULT_SITES."""
        node = root.nodes.get("faults") if isinstance(root, TreeMapping) else None
        if node is None or is_refused(node) or (isinstance(node, TreeScalar) and node.text == NONE):
            return ()
        if isinstance(node, TreeMapping):
            given = [(site, each, node.keys[site], ("faults", site))
                     for site, each in node.nodes.items()]  # fmt: skip
        else:
            told = "must be a mapping from site to settings: `http.lost: 1 %`."
            self._wrong(node.spot, ("faults",), told)
            return ()
        found: dict[str, list[Fault]] = {site: [] for site in FAULT_SITES}
        for site, each, spot, path in given:
            if site not in FAULT_SITES:
                told = closest(site, tuple(FAULT_SITES))
                self._wrong(spot, path, f"is an unknown site{told}")
            elif isinstance(each, TreeList):
                for n, one in enumerate(each.nodes):
                    found[site] += self._fault(site, one, (*path, str(n)), duration_s)
            else:
                found[site] += self._fault(site, each, path, duration_s)
        return tuple(fault for faults in found.values() for fault in faults)

    def _fault(self, site: str, node: TreeNode, path: FieldPath, duration_s: int) -> list[Fault]:
        if isinstance(node, TreeScalar):  # `http.lost: 1 %` is short for its chance.
            self._spots[dotted(path)] = node.spot
            chance = FAULTS[site].item("chance")
            assert chance is not None
            values = self._item(chance, node, path)
        else:
            values = self.fields(FAULTS[site], node, path)
        if "chance_ppm" not in values:
            return []
        kind = FAULT_SITES[site]
        standard = {"low": kind.low, "high": kind.high, "stop_s": duration_s}
        return [Fault(site=site, **{**standard, **values})]


def _example(item: TableField) -> str:
    if isinstance(item.kind, ValueKind):
        return f"`{item.name}: {item.kind.example}`"
    return f"`{item.name}:` and its fields"


def shown(text: str) -> str:
    """Return a word in quotes, escaped and cut."""
    return json.dumps(text if len(text) <= 60 else f"{text[:57]}...", ensure_ascii=False)
