"""Only a receiver that proves its name gets messages: the real process, and receivers with TLS."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.services.payouts import test_killed as killed
from tests.services.payouts.test_killed import PATIENCE_S, Process
from tests.services.payouts.webhook_receivers import SECRET, listening
from workbench.core.webhooks import verify
from workbench.evm.node.anvil import Anvil

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes certificates")
node = killed.node


class Ear(BaseHTTPRequestHandler):
    """Keeps the paths at which it was told something that is signed."""

    got: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        verify(SECRET, dict(self.headers.items()), body, time.time())
        self.got.append(self.path)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


def certificate(path: Path, name: str) -> Path:
    """Its own authority, for the host `name`; its key is in the same file."""
    key = path.with_suffix(".key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=test", "-addext", f"subjectAltName=DNS:{name}",
         "-keyout", str(key), "-out", str(path)],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    path.write_text(
        path.read_text(encoding="utf-8") + key.read_text(encoding="utf-8"), encoding="utf-8"
    )
    return path


@contextmanager
def ear(proof: Path | None) -> Iterator[tuple[str, list[str]]]:
    """Its URL, and what it heard. `proof`: see `listening`."""
    with listening(Ear, proof) as (place, got):
        yield f"https://{place}/t0ken", got


def until(process: Process, is_so: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    """What is listed of all receivers, once it is as it should be."""
    limit = time.monotonic() + PATIENCE_S
    while True:
        assert not process.is_dead()
        answer = process.ask("/v1/webhooks")
        if answer and is_so(answer["webhooks"]):
            listed: list[dict[str, Any]] = answer["webhooks"]
            return listed
        assert time.monotonic() < limit, answer


def test_only_a_receiver_that_proves_its_name_is_told(node: Anvil, tmp_path: Path) -> None:
    """SSL_CERT_FILE is trusted; without it each receiver's fault is reported, without its URL."""
    good = certificate(tmp_path / "good.pem", "localhost")
    other = certificate(tmp_path / "other.pem", "other.example")
    authorities = tmp_path / "authorities.pem"
    authorities.write_text(
        good.read_text(encoding="utf-8") + other.read_text(encoding="utf-8"), encoding="utf-8"
    )
    with ear(good) as ours, ear(other) as misnamed, ear(None) as plain:
        urls = " ".join(url for url, _ in (ours, misnamed, plain))
        hooks = {"WEBHOOK_URLS": urls, "WEBHOOK_SECRET": SECRET}
        process = Process(node, tmp_path, {"DB_PATH": str(tmp_path / "app.db")} | hooks, "spare2")
        try:
            process.start()
            until(process, lambda listed: len(listed) == 3)
            process.ask("/earn", {"user_id": "u", "credits": 1, "idempotency_key": "e"})
            told = until(process, lambda listed: all(each["failures"] for each in listed))
            reasons = [each["reason"] for each in told]
            assert "its certificate is not trusted: self-signed certificate" == reasons[0]
            assert "unreachable (ClientConnectorSSLError)" == reasons[2]
            assert "t0ken" not in str(told)
            assert process.ask("/readyz")["status"] == "ready", "a receiver's fault is not ours"
            process.end()
            process.database["SSL_CERT_FILE"] = str(authorities)
            process.start()
            told = until(process, lambda listed: "mismatch" in listed[1].get("reason", ""))
            until(process, lambda listed: not listed[0]["waiting"])
        finally:
            process.end()
        assert "its certificate is not trusted: Hostname mismatch" in told[1]["reason"]
        assert (["/t0ken"], [], []) == (ours[1], misnamed[1], plain[1])
