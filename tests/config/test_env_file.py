"""`.env` fails closed: a line is in force, or it is an error that names it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.source import ROOT
from workbench.config.env_file import distance, nearest, read_env_file
from workbench.core.errors import InvalidSetting
from workbench.settings import BY_NAME, Settings

GOOD = """# ours
DAILY_CREDITS=500
export SELLER_PORT='9000' # mine
HOST="::1"
OTHER_TOOL=x
"""
SECRET = "a-secret-that-nobody-may-see"
WRONG = {
    f"PAYOUTS_API_KEY='{SECRET}": "PAYOUTS_API_KEY: a quote is not closed",
    f'PAYOUTS_API_KEY="{SECRET}': "PAYOUTS_API_KEY: a quote is not closed",
    f"PAYOUTS_API_KEY: {SECRET}": "PAYOUTS_API_KEY: a colon stands where = belongs",
    f"PAYOUTS_API_KEY='{SECRET}' more": "PAYOUTS_API_KEY: text follows the closing quote",
    f'PAYOUTS_API_KEY="{SECRET}"more': "PAYOUTS_API_KEY: text follows the closing quote",
    SECRET: "there is no = in this line",
    "DAILY_CREDITS": "there is no = in this line",
    "DAILY_CREDITS 5": "this line cannot be read",
    "= 5": "this line cannot be read",
    f"PAYOUT_API_KEY={SECRET}": "PAYOUT_API_KEY is not a setting; PAYOUTS_API_KEY is one",
    "daily_credits=5": "daily_credits is not a setting; DAILY_CREDITS is one",
    "DAILYCREDITS=5": "DAILYCREDITS is not a setting; DAILY_CREDITS is one",
    "DAILY-CREDITS=5": "DAILY-CREDITS is not a setting; DAILY_CREDITS is one",
    "CREDITS_DAILY=5": "CREDITS_DAILY is not a setting; DAILY_CREDITS is one",
    "DIALY_CREDITS=5": "DIALY_CREDITS is not a setting; DAILY_CREDITS is one",
    "PROT=5": "PROT is not a setting; PORT is one",
    "DAILY_CREDITS=5": "DAILY_CREDITS is set again, to another value than in line 2",
    "APPROVE_ABOVE_CREDITS=${LIMTI}": "the value of APPROVE_ABOVE_CREDITS names a "
    "variable that is not set",
}


def load(folder: Path, text: str) -> Settings:
    (folder / ".env").write_bytes(text.encode())
    return Settings.load({}, folder, world={})


@pytest.mark.parametrize("line", WRONG)
def test_a_line_that_is_not_in_force_is_an_error(line: str, tmp_path: Path) -> None:
    """With file, line and fix; values are never shown."""
    with pytest.raises(InvalidSetting) as wrong:
        load(tmp_path, f"{GOOD}\n\n{line}\nPORT=9001\n")
    assert f".env:8: {WRONG[line]}" in f".env:8: {wrong.value.message}"
    assert wrong.value.message.startswith(".env:8: ")
    assert 8 == wrong.value.details["line"]
    assert wrong.value.hint
    assert SECRET not in str(wrong.value.to_json())


def test_what_a_quote_swallows_is_not_silently_gone(tmp_path: Path) -> None:
    """A quote that is closed by the next one of another line."""
    with pytest.raises(InvalidSetting, match=r"\.env:1: a quote is not closed in this line"):
        load(tmp_path, 'TITLE="mine\nDAILY_CREDITS=5\nX="\n')
    with pytest.raises(InvalidSetting, match=r"\.env:1: a quote is not closed in this line"):
        load(tmp_path, "WEBHOOK_URLS='https://a.example\n'\n")
    pem = "-----BEGIN-----\nabc=\n-----END-----"
    assert {"CERTIFICATE": pem} == read_pem(tmp_path, pem)


def read_pem(folder: Path, pem: str) -> dict[str, str]:
    path = folder / ".env"
    path.write_text(f'CERTIFICATE="{pem}"\n', encoding="utf-8")
    return read_env_file(path, BY_NAME, {})


def test_what_is_fine(tmp_path: Path) -> None:
    """Blank values, remarks, foreign names, the same line twice, defaults, a BOM, Windows."""
    text = (
        "\ufeff" + GOOD + "PORT=\nDAILY_CREDITS=500\nPGPORT=5\nMY_URL=http://x\nOPENAI_API_KEY=1\n"
        "DATA_DIR=${HOME_OF_DATA:-here}\nDB_PATH=${DATA_DIR}/app.db\n"
    )
    found = load(tmp_path, text.replace("\n", "\r\n"))
    assert (500, 9000, "::1", 8080) == tuple(
        found[name] for name in ("DAILY_CREDITS", "SELLER_PORT", "HOST", "PORT")
    )
    assert ("here", "here/app.db") == (found["DATA_DIR"], found["DB_PATH"])


def test_the_environment_is_not_searched_for_names(tmp_path: Path) -> None:
    """It holds other programs' variables."""
    assert 8080 == Settings.load({"PROT": "1", "PAYOUT_API_KEY": "x"}, tmp_path, world={})["PORT"]


LINES = st.one_of(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=60),
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from([*BY_NAME, "export PORT", "'PORT'", "PORTS", "TITLE", "#PORT", "port"]),
        st.sampled_from(["=", " = ", ": ", "", " ", "=="]),
        st.sampled_from(["", "5", "'5'", '"5"', "'5", '5"', '"5" 6', "5 # x", "${PORT}", "${NO}"]),
        st.sampled_from(["", " ", " # remark", "'", '"', "\\", "\x0b"]),
    ),
)


@given(line=LINES)
def test_any_line_is_in_force_or_an_error_that_names_it(
    line: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Or it is none of ours, and changes nothing."""
    folder = tmp_path_factory.mktemp("env")
    before = load(folder, GOOD)
    try:
        after = load(folder, f"{GOOD}{line}\n")
    except InvalidSetting as wrong:
        named = wrong.details.get("line") == 6 or wrong.details.get("setting", "?") in line
        assert named, (line, wrong)
        return
    changed = {name for name in BY_NAME if before[name] != after[name]}
    own = re.match(r"\s*(?:export\s+)?'?([A-Z0-9_]+)'?\s*=", line, re.ASCII)
    assert changed <= ({own[1]} if own else set()), line


def test_no_two_settings_are_nearly_the_same_to_the_reader() -> None:
    """A setting's own name is exact, whatever is near it; every slip of one letter is found."""
    for name in BY_NAME:
        for at in range(1, len(name)):
            slip = name[:at] + name[at + 1 :]
            assert slip in BY_NAME or nearest(slip, BY_NAME), slip


@pytest.mark.parametrize(
    ("one", "other", "far"),
    [("", "ab", 2), ("ab", "ba", 1), ("kitten", "sitting", 3), ("PORT", "PORT", 0), ("a", "", 1)],
)
def test_the_distance_of_names(one: str, other: str, far: int) -> None:
    assert (far, far) == (distance(one, other), distance(other, one))


@pytest.mark.parametrize("command", ["payouts", "seller", "doctor"])
def test_every_command_refuses_it(command: str, tmp_path: Path) -> None:
    """Exit code 1, one error, no traceback."""
    (tmp_path / ".env").write_text("PAYOUT_API_KEY=x\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "from workbench.cli import main; main()", command],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 1 == done.returncode
    assert ".env:1: PAYOUT_API_KEY is not a setting; PAYOUTS_API_KEY is one." in done.stderr
    assert "Traceback" not in done.stderr
