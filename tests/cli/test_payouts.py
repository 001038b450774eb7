"""`workbench payouts` and `workbench ledger` as people run them: what is wrong is said at once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from eth_account import Account

from workbench.cli import main
from workbench.core.errors import InvalidSetting, TestKeyRefused, WorkbenchError, WrongChain
from workbench.core.ledger import GENESIS
from workbench.core.ports import Request
from workbench.evm.node.anvil import Anvil
from workbench.evm.transactions.test_keys import key_of
from workbench.settings import Settings
from workbench.store.ledger.database import LedgerStore
from workbench.worlds.remote import live_payouts, payout_key
from workbench.worlds.served import LateBoundHandler, credits_of

WORKBENCH = str(Path(sys.executable).with_name("workbench"))
KEY = "0x" + "7e" * 32
URL = "http://127.0.0.1:9"
HOOKS = "https://site.example/t0ken"
SECRET = "whsec_" + "QUJD" * 8


def load(folder: Path, **environ: str) -> Settings:
    return Settings.load(environ=environ, folder=folder, world={})


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(main, list(words))


@pytest.mark.parametrize("missing", ["WEB3_PROVIDER_URL", "PAYOUT_PRIVATE_KEY"])
def test_what_is_missing_is_named(tmp_path: Path, missing: str) -> None:
    known = {"WEB3_PROVIDER_URL": URL, "PAYOUT_PRIVATE_KEY": KEY}
    del known[missing]
    with pytest.raises(InvalidSetting, match=missing):
        asyncio.run(live_payouts(load(tmp_path, **known)))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::"])
def test_off_loopback_an_api_key_is_needed(tmp_path: Path, host: str) -> None:
    """Whoever reaches an open /earn mints money."""
    with pytest.raises(InvalidSetting, match="PAYOUTS_API_KEY is not set, and HOST="):
        credits_of(load(tmp_path, HOST=host))
    key = "0123456789abcdef"
    assert key == credits_of(load(tmp_path, HOST=host, PAYOUTS_API_KEY=key)).api_key
    assert credits_of(load(tmp_path)).api_key is None


def test_subscribers_need_a_secret(tmp_path: Path) -> None:
    """Nothing starts without: nobody could tell our messages from another's."""
    known = {"WEB3_PROVIDER_URL": URL, "PAYOUT_PRIVATE_KEY": KEY, "WEBHOOK_URLS": HOOKS}
    with pytest.raises(InvalidSetting, match="WEBHOOK_SECRET is not set, and WEBHOOK_URLS is"):
        credits_of(load(tmp_path, **known))
    with pytest.raises(InvalidSetting, match=r"WEBHOOK_SECRET: is not what it should be") as caught:
        load(tmp_path, **known, WEBHOOK_SECRET="c2hvcnQ=")
    assert "openssl rand" in caught.value.hint
    assert "c2hvcnQ" not in str(caught.value)
    found = credits_of(load(tmp_path, **known, WEBHOOK_SECRET=SECRET))
    assert ((HOOKS,), (SECRET,)) == (found.webhook_urls, found.webhook_secrets)
    assert SECRET not in repr(found)
    assert "t0ken" not in repr(found)
    assert () == credits_of(load(tmp_path)).webhook_urls


def test_the_ledger_shows_who_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PATH", str(tmp_path / "app.db"))
    assert 1 == run(tmp_path, monkeypatch, "ledger", "webhooks").exit_code, "no ledger"
    LedgerStore(f"sqlite:///{tmp_path / 'app.db'}").close()
    assert "WEBHOOK_URLS is not set" in run(tmp_path, monkeypatch, "ledger", "webhooks").output
    monkeypatch.setenv("WEBHOOK_URLS", HOOKS)
    told = run(tmp_path, monkeypatch, "ledger", "webhooks")
    assert "  https://site.example  ok, 0 waiting" in told.output
    (one,) = json.loads(run(tmp_path, monkeypatch, "ledger", "webhooks", "--json").output)[
        "webhooks"
    ]
    assert ("https://site.example", "ok", 0) == (one["place"], one["state"], one["waiting"])
    assert "t0ken" not in told.output + json.dumps(one)


def test_a_public_test_key_is_refused_on_a_live_chain(tmp_path: Path) -> None:
    with Anvil() as node:
        known = {"WEB3_PROVIDER_URL": node.url, "PAYOUT_PRIVATE_KEY": key_of("payer").secret}
        with pytest.raises(TestKeyRefused):
            asyncio.run(live_payouts(load(tmp_path, **known)))


def test_alone_it_tells_where_it_is_as_json(tmp_path: Path) -> None:
    """As `up` does, for programs that start it; errors have the same form."""
    with Anvil() as node:
        known = {"WEB3_PROVIDER_URL": node.url, "PAYOUT_PRIVATE_KEY": KEY, "CHAIN_ID": "31337"}
        env = os.environ | known | {"PORT": "0", "DB_PATH": str(tmp_path / "app.db")}
        command = [WORKBENCH, "payouts", "--json"]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        with urllib.request.urlopen(f"{told['url']}/livez", timeout=10) as answer:
            assert 200 == answer.status
        assert ("payouts", 31337, process.pid) == (told["service"], told["chain_id"], told["pid"])
        process.send_signal(signal.SIGINT)
        assert 0 == process.wait(20)
        process.stdout.close()
        env |= {"CHAIN_ID": "5"}
        wrong = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, timeout=60)
    assert (1, "wrong_chain") == (wrong.returncode, json.loads(wrong.stdout)["error"])


def test_the_seeds_chain_is_sepolia(tmp_path: Path) -> None:
    """Unless CHAIN_ID says another; a node of another chain is refused before anything listens."""

    async def start(**more: str) -> None:
        known = {"WEB3_PROVIDER_URL": node.url, "PAYOUT_PRIVATE_KEY": KEY, "PORT": "0", **more}
        async with await live_payouts(load(tmp_path, DB_PATH=str(tmp_path / "x.db"), **known)):
            pass

    with Anvil() as node:
        with pytest.raises(WrongChain, match="on chain 31337, CHAIN_ID says 11155111"):
            asyncio.run(start())
        asyncio.run(start(CHAIN_ID="31337"))


def test_places_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    """A folder below a file, a host that is another machine's or none: no stack trace."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    cases = {
        "the folder of DB_PATH": {"DB_PATH": str(tmp_path / "file" / "app.db")},
        "DATA_DIR": {"DATA_DIR": str(tmp_path / "file" / "data")},
        "HOST=192.0.2.1 is no address of this machine": {"HOST": "192.0.2.1"},
        "HOST=no.host.invalid is no address of this machine": {"HOST": "no.host.invalid"},
    }

    async def start(**more: str) -> None:
        known = {"WEB3_PROVIDER_URL": URL, "PAYOUT_PRIVATE_KEY": KEY, "PORT": "0"}
        known |= {"PAYOUTS_API_KEY": "0123456789abcdef", "DB_PATH": str(tmp_path / "app.db")}
        async with await live_payouts(load(tmp_path, **known | more)):
            pass

    for told, environ in cases.items():
        with pytest.raises(WorkbenchError, match=re.escape(told)) as wrong:
            asyncio.run(start(**environ))
        assert wrong.value.hint


def test_who_comes_before_it_is_ready_is_asked_to_come_again(tmp_path: Path) -> None:
    """The port is open while the database is made: nothing is accepted, and that is said."""
    seat = LateBoundHandler("payouts")
    answer = asyncio.run(seat.handle(Request("POST", "/earn", body=b"{}")))
    assert (503, "starting") == (answer.status, answer.data()["error"])
    assert ("Retry-After", "1") in answer.headers


def test_a_key_in_an_encrypted_file(tmp_path: Path) -> None:
    kept = tmp_path / "key.json"
    secret = bytes.fromhex(KEY[2:])
    kept.write_text(
        json.dumps(Account.encrypt(secret, "pw", kdf="pbkdf2", iterations=2)), encoding="utf-8"
    )
    named = {"PAYOUT_KEYSTORE": str(kept)}
    assert KEY == payout_key(load(tmp_path, **named, PAYOUT_KEYSTORE_PASSWORD="pw"))
    for more in ({}, {"PAYOUT_KEYSTORE_PASSWORD": "no"}):
        with pytest.raises(InvalidSetting, match=r"PAYOUT_KEYSTORE_PASSWORD|with this password"):
            payout_key(load(tmp_path, **named, **more))
    with pytest.raises(InvalidSetting, match="PAYOUT_KEYSTORE cannot be read"):
        payout_key(load(tmp_path, PAYOUT_KEYSTORE=str(tmp_path / "none")))


def test_a_ledger_that_is_not_there_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in ("verify", "reconcile"):
        told = run(tmp_path, monkeypatch, "ledger", command)
        assert 1 == told.exit_code
        assert "there is no ledger at data/app.db" in told.output
    assert not (tmp_path / "data").exists()


def test_reconcile_says_what_it_has_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In words, and exit code 1 where money has left that no payout explains."""
    monkeypatch.setenv("DB_PATH", str(tmp_path / "app.db"))
    LedgerStore(f"sqlite:///{tmp_path / 'app.db'}").close()
    payer = Account.from_key(KEY).address
    with Anvil() as node:
        known = {"WEB3_PROVIDER_URL": node.url, "PAYOUT_PRIVATE_KEY": KEY, "CHAIN_ID": "31337"}
        for name, value in (known | {"FINALITY_CONFIRMATIONS": "1"}).items():
            monkeypatch.setenv(name, value)
        node.call("anvil_setBalance", payer, hex(5))
        node.call("anvil_mine", "0x3")
        told = run(tmp_path, monkeypatch, "ledger", "reconcile")
        assert 0 == told.exit_code, told.output
        assert "eip155:31337/native: 5 on the chain, 0 in the ledger, 5 booked now" in told.output
        assert told.output.endswith("reconciled: everything is explained\n")
        told = run(tmp_path, monkeypatch, "ledger", "reconcile")
        assert "5 on the chain, 5 in the ledger\n" in told.output
        node.call("anvil_setBalance", payer, hex(3))
        node.call("anvil_mine", "0x3")
        told = run(tmp_path, monkeypatch, "ledger", "reconcile")
        assert 1 == told.exit_code
        assert "3 on the chain, 5 in the ledger, -2 booked now" in told.output
        assert "not reconciled: something is missing" in told.output


def test_verify_says_how_much_it_has_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PATH", str(tmp_path / "app.db"))
    LedgerStore(f"sqlite:///{tmp_path / 'app.db'}").close()
    told = run(tmp_path, monkeypatch, "ledger", "verify", "--json")
    assert (0, {"lines": 0, "head": GENESIS}) == (told.exit_code, json.loads(told.output))
    (tmp_path / "app.db").write_bytes(b"not a database" * 100)
    told = run(tmp_path, monkeypatch, "ledger", "verify", "--json")
    assert 1 == told.exit_code
    assert "not a database" in told.output


def test_a_database_that_cannot_be_reached(tmp_path: Path) -> None:
    """The password in its URL is not shown."""
    with pytest.raises(WorkbenchError) as wrong:
        LedgerStore("postgresql://user:topsecret@127.0.0.1:1/ledger")
    assert "topsecret" not in f"{wrong.value} {wrong.value.to_json()}"
