"""The file format as JSON Schema for editors, generated from the table into `scenarios/`."""

from __future__ import annotations

import json
from dataclasses import MISSING
from typing import Any

from workbench.scenario.kinds import NONE, ValueKind
from workbench.scenario.model import FAULT_SITES
from workbench.scenario.table import FAULTS, FAULTS_MEANING, FILE, TableField, TableSection


def schema_json() -> dict[str, Any]:
    """Return a JSON Schema (draft 2020-12) of scenario files. Contradictions still pass it."""
    schema = _section(FILE)
    schema["anyOf"] = [{"required": ["buyers"]}, {"required": ["payouts"]}]
    schema["properties"]["faults"] = {
        "description": FAULTS_MEANING,
        "anyOf": [{"const": NONE}, _faults()],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settlement Workbench scenario",
        **schema,
        "$defs": {site: _fault(section) for site, section in FAULTS.items()},
    }


def schema_text() -> str:
    """Return the text of `scenarios/schema.json`."""
    return json.dumps(schema_json(), indent=1, ensure_ascii=False) + "\n"


def _faults() -> dict[str, Any]:
    sites = {}
    for name, site in FAULT_SITES.items():
        one = {"$ref": f"#/$defs/{name}"}
        told = f"{site.does}; chance is each {site.each}"
        sites[name] = {"description": told, "anyOf": [one, {"type": "array", "items": one}]}
    return {"type": "object", "properties": sites, "additionalProperties": False}


def _fault(section: TableSection) -> dict[str, Any]:
    """Return the schema of a site: its settings, or its chance alone."""
    chance = section.item("chance")
    assert chance is not None
    assert isinstance(chance.kind, ValueKind)
    return {"anyOf": [chance.kind.schema, _section(section)]}


def _section(section: TableSection) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {item.name: _item(section, item) for item in section.items},
    }
    if required := [item.name for item in section.items if item.needed_by("")]:
        schema["required"] = required
    if cases := _cases(section):
        schema["allOf"] = cases
    return schema


def _item(section: TableSection, item: TableField) -> dict[str, Any]:
    told: dict[str, Any] = {"description": item.meaning}
    if isinstance(item.kind, TableSection):
        one = _section(item.kind)
        if item.many:
            some = {"type": "array", "minItems": 1, "items": one}
            return (
                {**told, "anyOf": [{"const": NONE}, {**some, "minItems": 0}]}
                if item.optional
                else {**told, **some}
            )
        return {**told, "anyOf": [{"const": NONE}, one]} if item.optional else {**told, **one}
    values = tuple(section.default(each) for each in item.into)
    # A range of a site has its own default, and a fault's end is the scenario's.
    if MISSING not in values and section.make is not FAULTS["http.lost"].make:
        told["default"] = item.kind.show(values[0] if len(values) == 1 else values)
    return {**told, **item.kind.schema}


def _cases(section: TableSection) -> list[dict[str, Any]]:
    """Return for each model what must be present and what must not."""
    model = section.item("model")
    if model is None:
        return []
    assert isinstance(model.kind, ValueKind)
    cases = []
    for name in model.kind.schema["enum"]:
        needed = [item.name for item in section.items if item.needed_by(name)]
        foreign = {item.name: False for item in section.items if not item.used_by(name)}
        case: dict[str, Any] = {"properties": {"model": {"const": name}}}
        if name != section.default("model"):
            case["required"] = ["model"]
        then = {"required": needed, "properties": foreign}
        cases.append({"if": case, "then": {key: value for key, value in then.items() if value}})
    return cases
