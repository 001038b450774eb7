"""Errors of the machine, of files, and of other services."""

from __future__ import annotations

from workbench.core.errors.base import WorkbenchError


class SetupError(WorkbenchError):
    """The machine, a file or another process prevents the work."""

    code = "setup_error"


class PortTaken(SetupError):
    """Another program listens on the port."""

    code = "port_taken"


class ToolMissing(SetupError):
    """A program, package or folder is not installed."""

    code = "tool_missing"


class NotCompiled(SetupError):
    """The contracts are not compiled, or not in their current version."""

    code = "not_compiled"


class Starting(SetupError):
    """The service listens, but is not ready yet. Nothing was done."""

    code, status, transient = "starting", 503, True


class UnknownWorld(SetupError):
    """No world is running in this folder."""

    code = "unknown_world"


class WorldRuns(SetupError):
    """A world is already running in this folder. Only one can."""

    code = "world_runs"


class AlreadyPlayed(SetupError):
    """The experiment has already played its scenario. It plays once."""

    code, status = "already_played", 409


class RunUnderWay(SetupError):
    """The run is still going on. The request needs its end, or would disturb it."""

    code, status, transient = "run_under_way", 409, True


class RunOver(SetupError):
    """The run has ended. The request needs its node."""

    code, status = "run_over", 409


class StoreError(SetupError):
    """A database or a file cannot be used."""

    code = "store_error"


class RunDamaged(StoreError):
    """A file of a run folder is missing or differs from what was saved."""

    code = "run_damaged"


class StoreBusy(StoreError):
    """The database is locked, unreachable or out of space. Nothing was written; it may pass."""

    code, status, transient = "store_busy", 503, True


class NotebookFailed(SetupError):
    """A notebook failed. The run that it shows is kept."""

    code = "notebook_failed"


class TraceDiffers(SetupError):
    """A replayed run produced other facts."""

    code = "trace_differs"


class TestKeyRefused(SetupError):
    """A public test key on a chain that this program did not start."""

    code = "test_key_refused"
    __test__ = False  # pytest: not a test class, whatever its name begins with


class PeerUnreachable(WorkbenchError):
    """Another service did not answer."""

    code, status, transient = "peer_unreachable", 502, True


class PeerUntrusted(PeerUnreachable):
    """The certificate of another service is not valid; `reason` names the problem."""

    code = "peer_untrusted"


class PeerRefused(WorkbenchError):
    """Another service answered with an error; its code and message are in `details`."""

    code, status = "peer_refused", 502


class PeerAnswerInvalid(PeerRefused):
    """The answer of another service does not fit its schema."""

    code = "peer_answer_invalid"


class PeerUnreadable(PeerUnreachable):
    """The answer is not a JSON object. Perhaps a proxy answered."""

    code = "peer_unreadable"
