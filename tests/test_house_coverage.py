"""Every folder of the package has a coverage floor (`make coverage` compares)."""

from __future__ import annotations

import json

from tests.source import ROOT
from tests.test_house_repository import folders
from tools.coverage_floors import FLOORS, floor_problems


def test_every_folder_has_a_floor() -> None:
    """Folders whose modules hold no statement but imports count as well."""
    floors = json.loads(FLOORS.read_text(encoding="utf-8"))
    assert folders(ROOT / "workbench") | {"."} == set(floors)
    assert all(0 < floor <= 100 for floor in floors.values())


def test_a_folder_below_its_floor_is_found() -> None:
    assert [] == floor_problems({"core": 95.2}, {"core": 95})
    assert ["workbench/core has a coverage of 94.9 %, its floor is 95 %"] == floor_problems(
        {"core": 94.9}, {"core": 95}
    )


def test_a_folder_without_a_floor_is_found() -> None:
    assert ["workbench/attic has no floor: run this with --write"] == floor_problems(
        {"attic": 100.0}, {}
    )
    assert ["workbench/attic has a floor and no code"] == floor_problems({}, {"attic": 50})
