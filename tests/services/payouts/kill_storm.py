"""`kill -9` under load: real processes of `workbench payouts`, a real node, a liar between them.

A client asks with fixed idempotency keys, the process is killed at random moments, the chain takes
blocks back. Then a restored database, and a foreign nonce. What must hold: nothing is paid twice,
nothing is lost, no process ends by itself, the same key gets the same answer, and a signer that
cannot know what was paid stops until a person releases it.

Used by test_kill_storm and `make soak ARGS="kills"`. A seed gives the same plan, not the same run:
processes and blocks have their own time.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.services.payouts.lying_node import Liar
from workbench.evm.node.anvil import Anvil
from workbench.evm.rpc.local_marker import MARKER_ADDRESS, MARKER_CODE
from workbench.evm.transactions.test_keys import key_of

REPO = Path(__file__).resolve().parents[3]
BLOCK_S, FINALITY, UNIT = 0.2, 4, 10**12
RATE = 0.08
EARNED, CREDITS = 10**6, 3
ROLE = "spare1"
PATIENCE_S = 120.0
STILL_BLOCKS = 3 * FINALITY
"""So many blocks pass without a payment of a stopped signer before that is believed."""
REFUSED = re.compile(r"^error: ", re.MULTILINE)
"""How a refused start begins to tell its reason; a defect has a trace instead."""
OPEN = ("held", "approved", "sent")


class NotInTime(Exception):
    """A condition did not come true."""


class KillStorm:
    """One wallet, one database, one life after the other. `problems`: what must never be.

    `stop`: asked between steps; true ends the storm early, without a verdict on what is open.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        kills: int,
        payouts: int,
        plant: str = "",
        stop: Callable[[], bool] = lambda: False,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.folder, self.kills, self.count, self.plant = folder, kills, payouts, plant
        self.chance, self._stop, self._patience_s = random.Random(seed), stop, patience_s
        self.database = folder / "app.db"
        self.problems: list[str] = []
        self.seen: Counter[str] = Counter()
        self.ids: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock, self._is_over = threading.Lock(), threading.Event()
        self._asked = 0

    def play(self) -> list[str]:
        """The storm, then a restored database and a foreign nonce. What must never be."""
        liar_chance = random.Random(self.chance.random())
        with (
            Anvil(block_time=BLOCK_S, prune=5_000, genesis_time=None) as self.node,
            Liar(self.node.url, liar_chance) as self.liar,
        ):
            self.node.call("anvil_setCode", MARKER_ADDRESS, MARKER_CODE)
            clients: list[threading.Thread] = []
            try:
                self._start()
                self._earn()
                clients = [threading.Thread(target=self._load) for _ in range(2)]
                for each in clients:
                    each.start()
                self._strike()
                self.liar.rate = 0.0
                self._settle()
                self._is_over.set()
                self._check_books()
                if not self.problems:
                    self._restored()
                    self._foreign()
            except NotInTime as why:
                self.problems += [*self._doubles(), str(why)]
            finally:
                self._is_over.set()
                self._kill()
                for each in clients:
                    each.join(15)
        return self.problems

    # --- The process ---

    def _start(self) -> None:
        """A new life, until it answers. One that ends by itself is a problem.

        A start may fail while the node gives no usable answer: then it is started again.
        """
        while not self._begin():
            self.seen["starts refused"] += 1

    def _begin(self) -> bool:
        """Whether it came up; False where its start was refused, and the node lies."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        own = {
            "WEB3_PROVIDER_URL": self.liar.url,
            "PAYOUT_PRIVATE_KEY": key_of(ROLE).secret,
            "CHAIN_ID": str(self.node.chain_id),
            "DB_PATH": str(self.database),
            "PORT": str(port),
            "FINALITY_CONFIRMATIONS": str(FINALITY),
            "POLL_INTERVAL_MS": "100",
            "RECONCILE_EVERY_S": "1",
            "UNITS_PER_CREDIT": str(UNIT),
            "KILL_STORM_PLANT": self.plant,
            "PYTHONPATH": str(REPO),
            "WORKBENCH_ROOT": str(REPO),
        }
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.services.payouts.kill_child"],
                cwd=self.folder, env={**os.environ, **own}, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        process, log_file = self._process, self.folder / "log.txt"
        begun = log_file.stat().st_size

        def is_up() -> bool:
            return process.poll() is not None or "payouts" in (self._ask("/user/u") or {})

        self._until(is_up, "the process never answered", is_starting=True)
        if process.poll() is None:
            return True
        said = log_file.read_bytes()[begun:].decode(errors="replace")
        if self.liar.rate and process.returncode == 1 and REFUSED.search(said):
            return False
        self._note_end(process)
        raise NotInTime("the process did not start")

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is not None:
            self._note_end(process)
        process.kill()
        process.wait(10)

    def _note_end(self, process: subprocess.Popen[bytes]) -> None:
        tail = (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace")[-400:]
        self.problems.append(f"a process ended by itself with code {process.returncode}: {tail}")

    def _until(
        self, is_so: Callable[[], bool], otherwise: str, *, is_starting: bool = False
    ) -> None:
        limit = time.monotonic() + self._patience_s
        while not is_so():
            if not is_starting and self._process and self._process.poll() is not None:
                self._note_end(self._process)
                self._process = None
                raise NotInTime(otherwise)
            if self._stop():
                raise NotInTime("stopped before its end")
            if time.monotonic() > limit:
                raise NotInTime(f"{otherwise}; {json.dumps(self._ask('/readyz'))[:1500]}")
            time.sleep(0.05)

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """An answer as JSON, errors too; None where nobody answered."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as why:
            try:
                return json.loads(why.read())
            except (OSError, ValueError):
                return None
        except (OSError, ValueError, EOFError, http.client.HTTPException):
            return None  # Half an answer of a killed process is none.

    # --- The client ---

    def _earn(self) -> None:
        asked = {"user_id": "u", "credits": EARNED, "idempotency_key": "earned"}
        self._until(lambda: "credits" in (self._ask("/v1/credits", asked) or {}), "no credits")

    def payee(self, number: int) -> str:
        return f"0x{number + 0xC0FFEE00:040x}"

    def request(self, number: int) -> str:
        """The payout's id; "" where nobody answered. Another id for the same key is a problem."""
        key = f"key-{number}"
        asked = {"user_id": "u", "credits": CREDITS, "address": self.payee(number)}
        told = self._ask("/v1/payouts", {**asked, "idempotency_key": key})
        if not told or "id" not in told:
            return ""
        with self._lock:
            known = self.ids.setdefault(key, told["id"])
            if known != told["id"]:
                self.problems.append(f"{key} was answered with {known}, then with {told['id']}")
        return str(told["id"])

    def _load(self) -> None:
        """Ask, in order, until all are accepted; and again for one that was accepted before."""
        chance = random.Random(self._asked)
        while not self._is_over.is_set():
            with self._lock:
                number = min(self._asked, self.count - 1)
                self._asked = min(self._asked + 1, self.count)
            while not self.request(number) and not self._is_over.is_set():
                time.sleep(0.05)
            self.request(chance.randrange(number + 1))
            pause = 0.02 if self._asked < self.count else 0.5
            self._is_over.wait(pause * (1 + chance.random()))

    # --- What happens to it ---

    def _strike(self) -> None:
        self.liar.rate = RATE
        for _ in range(self.kills):
            pause = self.chance.uniform(0.1, 2.0)
            limit = time.monotonic() + pause
            while time.monotonic() < limit and not self._stop():
                time.sleep(0.05)
            if self.chance.random() < 0.3:
                self._reorg(self.chance.randint(1, FINALITY - 2))
            self._kill()
            self.seen["kills"] += 1
            self._start()

    def _reorg(self, depth: int) -> None:
        if int(self.node.call("eth_blockNumber"), 16) > depth + 1:
            self.node.call("anvil_rollback", depth)
            self.seen["reorgs"] += 1

    def _states(self) -> dict[str, str]:
        """By idempotency key; all of the service's payouts."""
        told = self._rows()
        return {row[0]: row[1] for row in told}

    def _rows(self) -> list[tuple[str, str, str]]:
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10) as rows:
            return rows.execute("SELECT key, state, id FROM payout").fetchall()

    def _settle(self) -> None:
        """Until every key was answered and every payout has ended."""

        def is_over() -> bool:
            states = self._states()
            return len(states) >= self.count and not any(s in OPEN for s in states.values())

        self._until(is_over, "not every payout came to its end")
        # Ledger and chain agree, twice read.
        head = int(self.node.call("eth_blockNumber"), 16)

        def is_equal() -> bool:
            told = self._ask("/v1/reconciliation") or {}
            return told.get("right") is True and told["block"] >= head

        self._until(is_equal, "ledger and chain were not found equal")

    # --- What is true ---

    def payments(self) -> Counter[str]:
        """How often each receiver was paid by the wallet, over all blocks."""
        paid: Counter[str] = Counter()
        for number in range(int(self.node.call("eth_blockNumber"), 16) + 1):
            block = self.node.call("eth_getBlockByNumber", hex(number), True)
            for tx in block["transactions"]:
                if tx["from"] == key_of(ROLE).address.lower() and int(tx["value"], 16):
                    paid[tx["to"].lower()] += 1
        return paid

    def _doubles(self) -> list[str]:
        paid = self.payments().items()
        return [f"{receiver} was paid {times} times" for receiver, times in paid if times > 1]

    def _check_books(self) -> None:
        self.problems += self._doubles()
        paid, states = self.payments(), self._states()
        self.seen.update(f"payouts {state}" for state in states.values())
        for number in range(self.count):
            times, state = paid[self.payee(number)], states.get(f"key-{number}", "never accepted")
            if (times > 0) != (state == "paid"):
                self.problems.append(f"key-{number} is {state}, and was paid {times} times")
        told = self._ask("/v1/balances/u") or {}
        spent = CREDITS * sum(state == "paid" for state in states.values())
        if told.get("available", told.get("credits")) != EARNED - spent:
            self.problems.append(f"credits: {told}, and {spent} of {EARNED} were paid out")
        alarms = (self._ask("/readyz") or {}).get("alarms", {})
        if "signer_quarantined" in alarms:
            self.problems.append(f"a false quarantine remains: {alarms['signer_quarantined']}")

    # --- What a person must look at ---

    def _restored(self) -> None:
        """Yesterday's database: it does not know two payments."""
        self._kill()
        copy = self.folder / "yesterday.db"
        with sqlite3.connect(self.database) as now, sqlite3.connect(copy) as then:
            now.backup(then)
        self._start()
        self._pay(self.count, self.count + 2)
        self._kill()
        for path in self.folder.glob("app.db*"):
            path.unlink()
        copy.rename(self.database)
        self._start()
        self._stands_still_until_released("restored database", self.count + 2)

    def _foreign(self) -> None:
        """Another program with our key takes the next nonce."""
        from eth_account import Account

        address = key_of(ROLE).address
        nonce = int(self.node.call("eth_getTransactionCount", address, "latest"), 16)
        fields = {"to": bytes.fromhex("ee" * 20), "value": 1, "gas": 21_000, "nonce": nonce}
        fees = {"maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**10}
        signed = Account.sign_transaction(
            {**fields, **fees, "chainId": self.node.chain_id}, key_of(ROLE).secret
        )
        self.node.call("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
        self._stands_still_until_released("foreign nonce", self.count + 4)

    def _pay(self, first: int, end: int) -> None:
        def is_paid() -> bool:
            for number in range(first, end):
                self.request(number)
            states = self._states()
            return all(states.get(f"key-{number}") == "paid" for number in range(first, end))

        self._until(is_paid, f"key-{first} to key-{end - 1} are not paid")

    def _stands_still_until_released(self, why: str, number: int) -> None:
        self._until(lambda: self.request(number) != "", f"{why}: the payout is not accepted")
        self._until(lambda: "signer_quarantined" in self._alarms(), f"{why}: no alarm")
        self.seen[f"{why}: stopped"] += 1
        before, head = self.payments(), int(self.node.call("eth_blockNumber"), 16)
        self._until(
            lambda: int(self.node.call("eth_blockNumber"), 16) >= head + STILL_BLOCKS,
            "the chain stands still",
        )
        if self.payments() != before:
            self.problems.append(f"{why}: something was paid before a person released the signer")

        def has_ended() -> bool:
            if "signer_quarantined" in self._alarms():  # Again, when what is missing was booked.
                self._release()
            self.request(number + 1)
            ended = [self._states().get(f"key-{each}") for each in (number, number + 1)]
            return ended[0] in ("paid", "refunded") and ended[1] == "paid"

        self._until(has_ended, f"{why}: it does not go on after the release")
        paid, states = self.payments(), self._states()
        for each in (number, number + 1):
            times = paid[self.payee(each)]
            if times != (states[f"key-{each}"] == "paid"):
                self.problems.append(f"{why}: {states[f'key-{each}']}, and paid {times} times")

    def _release(self) -> None:
        """A person: what lost its nonce is given back, then the signer goes on."""
        for _, state, payout in self._rows():
            if state == "sent":
                told = self._ask(f"/v1/payouts/{payout}:refund", {"by": "operator"}) or {}
                self.seen["given back"] += told.get("state") == "refunded"
        told = self._ask("/v1/signer:release", {"by": "operator", "why": "looked at the chain"})
        self.seen["releases"] += (told or {}).get("released") is True

    def _alarms(self) -> dict[str, str]:
        return (self._ask("/readyz") or {}).get("alarms") or {}
