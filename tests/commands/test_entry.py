"""The entry of the container: API key, data folder, settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.commands import container
from workbench.core.errors import InvalidSetting
from workbench.settings import Settings


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


def settings(**given: str) -> Settings:
    return Settings.load(environ=given, world={})


def test_a_key_that_is_given_is_used_and_none_is_made(app: Path) -> None:
    found = container.surroundings(settings(PAYOUTS_API_KEY="k" * 20), makes_key=True)
    assert {"HOST": "0.0.0.0", "DATA_DIR": "data"} == found
    assert not (app / "data" / "api_key").exists()
    own = container.surroundings(settings(HOST="127.0.0.1", DATA_DIR="x"), makes_key=False)
    assert {} == own, "what somebody set stays"


def test_a_key_file_that_others_could_read_is_closed(app: Path) -> None:
    path = app / "data" / "api_key"
    path.write_text("k" * 30 + "\n", encoding="utf-8")
    path.chmod(0o644)
    assert "k" * 30 == container.api_key()
    assert 0o600 == path.stat().st_mode & 0o777


@pytest.mark.parametrize("text", ["", "\n", "short", "two words that are long enough", "\x00" * 20])
def test_a_damaged_key_file_is_told_and_not_replaced(app: Path, text: str) -> None:
    """A new key would lock out everybody who has the old one."""
    path = app / "data" / "api_key"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidSetting, match="holds no API key"):
        container.api_key()
    assert text == path.read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_made_is_told(app: Path) -> None:
    (app / "data").rmdir()
    (app / "data").write_text("a file", encoding="utf-8")
    with pytest.raises(InvalidSetting, match="could not be taken over"):
        container.settle_in()
