"""The first process of the container: drops root, creates an API key, and becomes the service.

    python -m workbench.commands.container payouts  # ENTRYPOINT and CMD; or `ledger verify`, …
    python -m workbench.commands.container healthy  # HEALTHCHECK

It becomes `workbench` by exec, so that SIGTERM reaches the service. A container differs from a
shell in that all data is in one folder (a volume), others reach its address, and so a key is
needed.
"""

from __future__ import annotations

import os
import secrets
import sys
import urllib.request
from pathlib import Path

from workbench.core.errors import InvalidSetting, WorkbenchError
from workbench.settings import BY_NAME, Settings

UID = GID = 10001
"""The user that serves. The Dockerfile creates it; only the numbers matter."""
DATA = Path("data")
"""In the image's working folder: the seed's /app/data."""
KEY_FILE = DATA / "api_key"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104  Its network is the container's; an API key is required.
HEALTHY_WITHIN_S = 4.0


def main(arguments: list[str]) -> int:
    """Return the exit code, unless it becomes another program."""
    try:
        if arguments == ["healthy"]:
            return 0 if is_healthy(Settings.load()) else 1
        os.umask(0o077)
        settle_in()
        settings = Settings.load()
        if arguments == ["payouts"]:
            need_payer(settings)
        os.environ.update(surroundings(settings, makes_key=arguments == ["payouts"]))
    except WorkbenchError as why:
        _say(f"error: {why.message}\n  {why.hint}")
        return 1
    program = Path(sys.executable).with_name("workbench")
    os.execv(program, [str(program), *arguments])  # noqa: S606  No shell in between is the point.


def settle_in() -> None:
    """Take over the data folder and drop root. Raises InvalidSetting if that fails."""
    try:
        DATA.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            _hand_over()
            os.setgroups([])
            os.setgid(GID)
            os.setuid(UID)
            # Libraries look for certificates and passwords there, and cannot read root's.
            os.environ["HOME"] = str(Path.cwd())
    except OSError as why:
        raise InvalidSetting(
            f"{DATA.absolute()} could not be taken over, or root not be left: {why.strerror}.",
            hint="Allow the capabilities CHOWN, SETUID and SETGID; or start with --user "
            f"{UID}:{GID} and a folder that is theirs.",
        ) from why
    if not os.access(DATA, os.R_OK | os.W_OK | os.X_OK):
        raise InvalidSetting(
            f"{DATA.absolute()} is not writable by user {os.geteuid()}.",
            hint=f"Start as root (it is left at once), or chown the folder to {os.geteuid()}.",
        )


def _hand_over() -> None:
    """Give the data folder and its files (databases, key) to the service user, without links and
    subfolders.

    A link could point to files of root.
    """
    files = [path for path in DATA.iterdir() if path.is_file() and not path.is_symlink()]
    for path in (DATA, *files):
        if path.lstat().st_uid != UID:
            os.chown(path, UID, GID, follow_symlinks=False)


def need_payer(settings: Settings) -> None:
    """Raise InvalidSetting before a key is made and logged in vain."""
    settings.need("WEB3_PROVIDER_URL")
    if not settings["PAYOUT_KEYSTORE"]:
        settings.need("PAYOUT_PRIVATE_KEY")
    if settings["WEBHOOK_URLS"]:
        settings.need("WEBHOOK_SECRET")


def surroundings(settings: Settings, *, makes_key: bool) -> dict[str, str]:
    """Return the variables that environment and .env leave open. A blank value leaves one open."""
    found = {"HOST": EVERY_ADDRESS, "DATA_DIR": str(DATA)}
    if makes_key or KEY_FILE.exists():
        found["PAYOUTS_API_KEY"] = settings["PAYOUTS_API_KEY"] or api_key()
    return {name: text for name, text in found.items() if name not in settings.given}


def api_key() -> str:
    """Return the key in the data folder. At first it is created and printed on stderr, once.

    Raises InvalidSetting for a file without a key: a new key would lock every client out.
    """
    try:
        try:
            descriptor = os.open(KEY_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            KEY_FILE.chmod(0o600)
        else:
            made = secrets.token_urlsafe(32)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(f"{made}\n")
                file.flush()
                os.fsync(descriptor)
            _print_key(made)
        return str(BY_NAME["PAYOUTS_API_KEY"].read(KEY_FILE.read_text(encoding="utf-8").strip()))
    except (OSError, ValueError, InvalidSetting) as why:
        raise InvalidSetting(
            f"{KEY_FILE} holds no API key that can be read.",
            hint="Set PAYOUTS_API_KEY; or remove the file, and another key is made.",
            setting="PAYOUTS_API_KEY",
        ) from why


def _print_key(key: str) -> None:
    _say(
        f"the API key of this service, shown this once (it is kept in {KEY_FILE}):\n"
        f"  {key}\n"
        "  Authorization: Bearer <key>; in a browser, the key as password."
    )


def is_healthy(settings: Settings) -> bool:
    """Return True if the service answers. /readyz, which includes the wallet, is no reason for a
    restart."""
    host = settings["HOST"] if "HOST" in settings.given else EVERY_ADDRESS
    host = {EVERY_ADDRESS: "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)
    # Without proxies, which are for the outside.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{host}:{settings['PORT']}/livez", timeout=HEALTHY_WITHIN_S) as it:
            return bool(it.status == 200)
    except (OSError, ValueError) as why:
        _say(f"/livez: {why}")
        return False


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
