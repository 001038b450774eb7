"""What we depend on: locked, licensed, and said once."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.licences import FORBIDDEN, PERMITTED, Licence, npm_licences, python_licences

ROOT = Path(__file__).resolve().parent.parent


def requirements_in() -> dict[str, str]:
    """Package name -> version specifier."""
    lines = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    wanted = [line.split("#")[0].strip() for line in lines]
    return dict(_split(line) for line in wanted if line)


def _split(requirement: str) -> tuple[str, str]:
    match = re.fullmatch(r"([A-Za-z0-9._-]+)(.*)", requirement)
    assert match, requirement
    return match[1], match[2]


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    found = [re.match(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", line) for line in lines]
    return {match[1]: match[2] for match in found if match}


def test_no_licence_stands_in_the_way() -> None:
    listed = (*python_licences(), *npm_licences())
    assert len(listed) > 200
    assert not [f"{entry.package}: {entry.text}" for entry in listed if entry.problem]


@pytest.mark.parametrize("text", ["GPL-3.0-only", "AGPL-3.0", "GNU General Public License v2", ""])
def test_other_licences_would_stand_in_the_way(text: str) -> None:
    assert Licence("PyPI", "some-package", "1", text).problem


@pytest.mark.parametrize("text", ["LGPL-3.0", "MIT", "Apache-2.0 AND MIT", "GPL-2.0 OR MIT"])
def test_these_do_not(text: str) -> None:
    assert not Licence("PyPI", "some-package", "1", text).problem
    assert PERMITTED.search(text)
    assert not FORBIDDEN.search("LGPL-3.0")


def test_pyproject_and_requirements_say_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    assert dict(map(_split, declared)) == requirements_in()


def test_every_direct_dependency_gives_its_reason() -> None:
    for line in (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            assert re.search(r"# .+\. \S", line), line


def test_every_direct_dependency_is_locked() -> None:
    versions = locked()
    assert not [name for name in requirements_in() if name.lower() not in versions]
    assert versions["eth-ape"] == "0.8.51"
    assert versions["ape-foundry"] == "0.8.12"


def test_every_locked_package_has_hashes() -> None:
    blocks = re.split(
        r"\n(?=[A-Za-z0-9])", (ROOT / "requirements.lock").read_text(encoding="utf-8")
    )
    pinned = [block for block in blocks if re.match(r"[A-Za-z0-9._-]+==", block)]
    assert len(pinned) >= len(locked())
    assert all("--hash=sha256:" in block for block in pinned)
    packages = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert all("integrity" in data for path, data in packages.items() if path)


@pytest.mark.parametrize("name", ["requirements.lock", "package-lock.json"])
def test_lock_files_name_no_registry(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert '"resolved"' not in text
    assert not re.search(r"index-url|find-links|file:", text)


# --- What runs before a commit and on a host ---


def hook_problems(config: dict[str, Any]) -> list[str]:
    """Report hooks from elsewhere, and tools that are not those of this project."""
    problems = [f"{repo['repo']} is remote" for repo in config["repos"] if repo["repo"] != "local"]
    for repo in config["repos"]:
        for hook in repo["hooks"]:
            if not hook.get("entry", "").startswith(".venv/bin/python -m "):
                problems.append(f"{hook['id']} does not run in .venv")
    return problems


def test_hooks_before_a_commit_are_the_projects_own_tools() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [] == hook_problems(config)
    entries = [hook["entry"].split()[2] for repo in config["repos"] for hook in repo["hooks"]]
    assert ["ruff", "ruff", "mypy"] == entries


def test_a_remote_hook_is_caught() -> None:
    remote = {"repo": "https://example.org/hooks", "hooks": [{"id": "x"}]}
    problems = ["https://example.org/hooks is remote", "x does not run in .venv"]
    assert problems == hook_problems({"repos": [remote]})


def test_the_hosted_ci_calls_our_script() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    steps = yaml.safe_load(text)["jobs"]["ci"]["steps"]
    assert "bash .ci/run" == steps[-1]["run"]
    assert (ROOT / ".ci" / "run").is_file()
