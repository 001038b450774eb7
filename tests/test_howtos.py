"""The how-tos of the guides, run exactly as they are written there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.cli.test_cli import CLEAN, Running, start, until
from tests.documents import ROOT, how_to
from workbench.config.world_file import world_variables

BIN = str(Path(sys.executable).parent)


def shell(text: str, cwd: Path, **env: str) -> Any:
    """Run a block with `workbench` on the PATH."""
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-e", "-c", text],
        cwd=cwd,
        env=CLEAN | path | env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def told(done: Any) -> dict[str, Any]:
    """The JSON line at the end of a command's output."""
    assert 0 == done.returncode, done.stderr
    line: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return line


def test_change_the_price(tmp_path: Path) -> None:
    """100 YPS at 1.25 are 125 USDC."""
    assert 125_000_000 == told(shell(how_to("Change the price"), tmp_path))["required_usdc"]


def test_pay_many_in_one_transaction(tmp_path: Path) -> None:
    """Everything ends, and some are paid together."""
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    played = told(shell(how_to("Pay many in one transaction"), tmp_path))
    facts = (tmp_path / played["run_dir"] / "events.jsonl").read_text(encoding="utf-8")
    assert '"PayoutBatched"' in facts
    assert {} == played["invariants_broken"]


def test_adjust_finality(tmp_path: Path) -> None:
    """The execution stands at least five blocks above the swap."""
    stages = {s["name"]: s for s in told(shell(how_to("Adjust finality"), tmp_path))["stages"]}
    assert stages["executed"]["block"] >= stages["swapped"]["block"] + 5


def test_add_an_event_type(tmp_path: Path) -> None:
    """The class alone: decoded from the hook's log, in the frame, and in the chart."""
    script = tmp_path / "howto.py"
    script.write_text(how_to("Add an event type"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert 0 == done.returncode, done.stderr
    assert "RateSet" in done.stdout
    assert "FacilitatorHook" in done.stdout
    assert b"\x89PNG" == (tmp_path / "with-rates.png").read_bytes()[:4]


def test_run_the_parts_alone_and_point_at_amoy(tmp_path: Path) -> None:
    """Chain id 80002, everything from .env in a folder of its own: doctor, then four terminals."""
    (tmp_path / "world").mkdir()
    world = start(tmp_path / "world", "--chain-id", "80002")
    parts: list[subprocess.Popen[Any]] = []
    try:
        folder = settled_in(tmp_path / "parts", world)
        done = shell(how_to("Point at Polygon Amoy"), folder)
        assert 0 == done.returncode, done.stdout + done.stderr
        assert "fault" not in done.stdout
        *terminals, purchase = how_to("Run the parts alone").strip().splitlines()
        for line in terminals:
            parts.append(terminal(line, folder))
        status, offer = world.get("http://127.0.0.1:18412/buy-asset?amount=1")
        requirement = offer["payment_requirement"]
        told = (status, requirement["chain"], requirement["chain_id"])
        assert (402, "polygon-amoy", 80002) == told
        assert "executed" in shell(purchase, folder).stdout
    finally:
        everything: list[subprocess.Popen[Any]] = [*parts, world.process]
        for process in everything:
            process.terminate()
            process.wait(20)
    assert_no_key_was_kept(folder, world)


def test_receive_webhooks(tmp_path: Path) -> None:
    """The receiver, and a world that tells it: each fact of a payout, once; no secret is shown."""
    secret = "whsec_" + "QUJD" * 8
    script, out = tmp_path / "receiver.py", tmp_path / "receiver.log"
    script.write_text(how_to("Receive webhooks"), encoding="utf-8")
    receiver = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=tmp_path, env=CLEAN | {"WEBHOOK_SECRET": secret}, stdout=out.open("wb"),
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    world = start(
        tmp_path, env={"WEBHOOK_URLS": "http://127.0.0.1:8406/t0ken", "WEBHOOK_SECRET": secret}
    )
    try:
        url = world.world["payouts_url"]
        asked = {"user_id": "alice", "address": "0x" + "ab" * 20, "credits": 1}
        body = urlencode(asked | {"idempotency_key": "k1"}).encode()
        with urllib.request.urlopen(f"{url}/payout", body, timeout=30) as answer:
            assert 200 == answer.status
        until(lambda: b"PayoutPaid" in out.read_bytes(), 60)
        _, told = world.get(f"{url}/v1/webhooks")
    finally:
        for process in (receiver, world.process):
            process.terminate()
            process.wait(20)
    names = ("Requested", "Held", "Approved", "Sent", "Paid")
    lines = [
        line
        for line in out.read_text(encoding="utf-8").splitlines()
        if not line.startswith("CreditsEarned")
    ]
    assert [f"Payout{name} k1" for name in names] == lines
    assert "CreditsEarned None" in out.read_text(encoding="utf-8")
    assert ["ok"] == [each["state"] for each in told["webhooks"]]
    shown = json.dumps([told, world.world]) + (tmp_path / "stderr.txt").read_text(encoding="utf-8")
    assert "t0ken" not in shown
    assert secret not in shown


def assert_no_key_was_kept(folder: Path, world: Running) -> None:
    """Logs and databases of a full run, and the error output of `up`, hold none of the keys."""
    kept = [path for path in folder.rglob("*") if path.is_file() and path.name != ".env"]
    assert {"seller.log", "seller.db", "tracker.db"} <= {path.name for path in kept}
    for path in [*kept, world.folder / "stderr.txt"]:
        text = path.read_bytes().lower()
        for role, key in world.world["keys"].items():
            assert key.removeprefix("0x").encode() not in text, f"{role}'s key is in {path.name}"


def settled_in(folder: Path, world: Running) -> Path:
    """A folder whose .env has a chain, contracts and keys, and ports of its own."""
    folder.mkdir()
    ports = {"SELLER": "18412", "FACILITATOR": "18413", "TRACKER": "15010"}
    values = world_variables(world.world)
    values |= {f"{name}_PORT": port for name, port in ports.items()}
    values |= {f"{name}_URL": f"http://127.0.0.1:{port}" for name, port in ports.items()}
    del values["TRACKER_URL"]
    (folder / ".env").write_text("".join(f"{k}={v}\n" for k, v in values.items()), encoding="utf-8")
    return folder


def terminal(line: str, folder: Path) -> subprocess.Popen[Any]:
    """One of the four terminals, once it says where it listens."""
    out = folder / f"{line.split()[1]}.log"
    process = subprocess.Popen(
        [str(Path(BIN, "workbench")), line.split()[1]],
        cwd=folder,
        env=CLEAN,
        stdout=out.open("wb"),
        stderr=subprocess.STDOUT,
    )
    until(lambda: b"http://127.0.0.1" in out.read_bytes() or process.poll() is not None)
    assert process.poll() is None, out.read_text(encoding="utf-8")
    return process
