"""What decides is given once, HEAD never acts, wrong keys are limited, files are private."""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.services.payouts.conftest import desk
from tests.services.payouts.desk import Desk, ask
from workbench import World
from workbench.core import strict_json
from workbench.core.errors import InputError, InvalidPayment
from workbench.core.finality import FinalityPolicy
from workbench.core.ports import Addresses, Request
from workbench.core.x402 import Payment, Terms
from workbench.evm.build.toolchain import node_binary
from workbench.services.common.routes import DECIDING
from workbench.services.payouts.wrong_keys import ADDRESSES, MOST, WrongKeys
from workbench.settings import Settings, make_folder
from workbench.store.ledger.database import LedgerStore
from workbench.web.borders import RequestLimits
from workbench.worlds.factories import local_keys
from workbench.worlds.served import NAMES, Served, ServedChain

__all__ = ["desk"]
KEY = "0123456789abcdef"


@pytest.mark.parametrize("name", DECIDING)
def test_a_header_that_decides_is_given_once(desk: Desk, name: str) -> None:
    desk.earn()
    headers = ((name, "a"), (name.upper(), "b"), ("Content-Type", "application/json"))
    body = json.dumps(ask()).encode()
    answer = desk.send(Request("POST", "/payout", (), headers, body))
    assert (answer.status, answer.data()["error"]) == (400, "duplicate_header")
    assert desk.user()["credits"] == 100


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"b": {"a": 1, "a": 1}}]', '{"a": NaN}'])
def test_json_that_readers_take_differently_is_refused(text: str) -> None:
    with pytest.raises(strict_json.AmbiguousJson):
        strict_json.loads(text)
    with pytest.raises(InputError):
        Request("POST", "/settle", body=text.encode()).json()
    header = b64encode(text.encode()).decode()
    with pytest.raises(InvalidPayment):
        Payment.from_header(header)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_other_json_is_read_as_everywhere(value: Any) -> None:
    text = json.dumps(value)
    assert strict_json.loads(text) == json.loads(text)


def facts(world: World) -> int:
    async def count() -> int:
        async with world.stores["seller"].unit() as unit:
            return await unit.last_seq()

    return int(world.do(count()))


def test_head_neither_buys_nor_offers(world: World) -> None:
    """Nothing is recorded; and the same of all paths that answer GET."""
    offer = world.get("http://seller/buy-asset?amount=100000000000000000000")
    assert offer.status == 402
    before = facts(world)
    place = "http://seller/buy-asset?amount=100000000000000000000"
    for headers in ((), (("X-PAYMENT", "e30="),)):
        assert world.send(Request("HEAD", place, (), headers)).status == 402
    assert before == facts(world)


# --- Keys ---


def test_wrong_keys_make_an_address_wait(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.rules(api_key=KEY)

    def status(key: str, client: str) -> tuple[int, dict[str, str]]:
        headers = (("Authorization", f"Bearer {key}"),)
        answer = desk.send(Request("GET", "/v1/payouts", (), headers, client=client))
        return answer.status, dict(answer.headers)

    for _ in range(MOST):
        assert status("wrong" * 4, "10.0.0.1")[0] == 401
    refused, headers = status(KEY, "10.0.0.1")
    assert (refused, headers["Retry-After"]) == (429, "60")
    assert status(KEY, "10.0.0.2")[0] == 200
    assert "10.0.0.1" in caplog.text
    assert "wrongwrong" not in caplog.text
    desk.storm.loop.jump(61)
    assert status(KEY, "10.0.0.1")[0] == 200


def test_addresses_are_bounded() -> None:
    keys = WrongKeys()
    for number in range(3 * ADDRESSES):
        keys.note(str(number), number)
    assert len(keys._times) == ADDRESSES


@pytest.mark.parametrize(
    "header", ["Origin", "Referer", "Host"], ids=lambda name: f"a malformed {name}"
)
@pytest.mark.parametrize("value", ["http://[", "[", "null", "\xe9", "x" * 5_000, "://", "@"])
def test_a_malformed_header_is_no_error_of_ours(desk: Desk, header: str, value: str) -> None:
    for headers in (((header, value),), ((header, value), ("Accept", "text/html"))):
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        request = Request("POST", "/earn", (), (*headers, kind), b"user_id=u1&credits=1")
        assert desk.send(request).status < 500


# --- Files ---


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in sorted(folder.iterdir())}


def test_database_files_are_their_owners_alone(tmp_path: Path) -> None:
    """Those that were open to others, too; whatever the umask is."""
    old = os.umask(0)
    try:
        make_folder(tmp_path / "a" / "b", "DB_PATH")
        store = LedgerStore(f"sqlite:///{tmp_path / 'a' / 'b' / 'app.db'}")
        assert modes(tmp_path) == {"a": 0o700}
        assert modes(tmp_path / "a") == {"b": 0o700}
        assert set(modes(tmp_path / "a" / "b").values()) == {0o600}
        store.close()
        wide = tmp_path / "a" / "b" / "app.db"
        wide.chmod(0o644)
        LedgerStore(f"sqlite:///{wide}").close()
        assert wide.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(old)


# --- Amounts as text ---


def test_amounts_of_the_402_stand_as_text_and_come_back_so(world: World) -> None:
    offer = world.get("http://seller/buy-asset?amount=123456789012345678901").data()
    asked = offer["payment_requirement"]
    assert asked["asset_amount_text"] == str(asked["asset_amount"]) == "123456789012345678901"
    assert asked["required_amount_text"] == str(asked["required_amount"])
    own = {"buyer": "0x" + "11" * 20, "maxEurc": "7"}
    plain = Terms.from_wire({**asked["terms"], **own})
    assert plain == Terms.from_wire({**asked["terms_text"], **own})
    assert plain == Terms.from_wire(through_javascript(offer, "terms_text", own))
    assert plain != Terms.from_wire(through_javascript(offer, "terms", own)), "why there is text"


def through_javascript(offer: Any, field: str, own: dict[str, str]) -> Any:
    """The terms as a client sends them that reads and writes JSON in JavaScript."""
    program = (
        "const offer = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        f"const terms = {{...offer.payment_requirement.{field}, ...{json.dumps(own)}}};"
        "process.stdout.write(JSON.stringify(terms));"
    )
    done = subprocess.run(
        [str(node_binary()), "-e", program],
        input=json.dumps(offer), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "text", "good"),
    [
        ("ALLOWED_HOSTS", "Desk.example, other", True),
        ("ALLOWED_HOSTS", "http://desk.example", False),
        ("CORS_ORIGINS", "https://shop.example *", True),
        ("CORS_ORIGINS", "shop.example", False),
        ("CORS_ORIGINS", "https://shop.example/path", False),
    ],
)
def test_names_and_origins_are_checked(tmp_path: Path, name: str, text: str, good: bool) -> None:
    def load() -> Settings:
        return Settings.load(environ={name: text}, folder=tmp_path, world={})

    if good:
        assert load()[name]
    else:
        with pytest.raises(InputError, match=name):
            load()


@pytest.mark.parametrize("name", NAMES)
def test_each_service_is_served_within_its_borders(name: str, tmp_path: Path) -> None:
    """Foreign names nowhere; other sites' pages at payouts never; with a key every name."""
    given = {"ALLOWED_HOSTS": "Desk.example", "CORS_ORIGINS": "*", "PAYOUTS_API_KEY": ""}

    def borders(**more: str) -> RequestLimits:
        settings = Settings.load(environ={**given, **more}, folder=tmp_path, world={})
        place = ServedChain(
            "http://127.0.0.1:1", 1, Addresses(*["0x"] * 6), 0, local_keys(), FinalityPolicy(1)
        )
        return Served(place, tmp_path, settings)._borders(name)

    def is_served(host: str, at: RequestLimits) -> bool:
        return at.refusal((("Host", host),)) is None

    plain, keyed = borders(), borders(PAYOUTS_API_KEY=KEY)
    assert is_served("desk.example:80", plain)
    assert is_served("localhost", plain)
    assert not is_served("evil.example", plain)
    assert is_served("evil.example", keyed) == (name == "payouts")
    assert bool(plain.origins) == bool(keyed.origins) == (name != "payouts")
