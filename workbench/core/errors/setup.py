"""Errors of the machine, of files, and of other services."""

from __future__ import annotations

from workbench.core.errors.base import WorkbenchError


class SetupError(WorkbenchError):
    code = "setup_error"


class PortTaken(SetupError):
    code = "port_taken"


class ToolMissing(SetupError):
    code = "tool_missing"


class NotCompiled(SetupError):
    code = "not_compiled"


class Starting(SetupError):
    """The service has its port, and is not ready yet. Nothing was done."""

    code, status, transient = "starting", 503, True


class UnknownWorld(SetupError):
    code = "unknown_world"


class WorldRuns(SetupError):
    """There is one world in a folder: what runs there must know which."""

    code = "world_runs"


class AlreadyPlayed(SetupError):
    """An experiment plays its scenario once."""

    code, status = "already_played", 409


class RunUnderWay(SetupError):
    """A run goes on, and what was asked for needs its end, or would disturb it."""

    code, status, transient = "run_under_way", 409, True


class RunOver(SetupError):
    """A run has ended, and what was asked for needs its node."""

    code, status = "run_over", 409


class StoreError(SetupError):
    code = "store_error"


class RunDamaged(StoreError):
    """A run folder that is not as it was saved: the file is named."""

    code = "run_damaged"


class StoreBusy(StoreError):
    """Locked by another, unreachable, or out of space: nothing was written, and it may pass."""

    code, status, transient = "store_busy", 503, True


class NotebookFailed(SetupError):
    """A notebook could not be run; the run that it was to show is kept all the same."""

    code = "notebook_failed"


class TraceDiffers(SetupError):
    """A run was played again, and something else happened."""

    code = "trace_differs"


class TestKeyRefused(SetupError):
    """A key everybody knows, on a chain we did not boot."""

    code = "test_key_refused"
    __test__ = False  # pytest: not a test class, whatever its name begins with


class PeerUnreachable(WorkbenchError):
    """Another service did not answer."""

    code, status, transient = "peer_unreachable", 502, True


class PeerUntrusted(PeerUnreachable):
    """Another service did not prove its name; `reason` says what is wrong with its certificate."""

    code = "peer_untrusted"


class PeerRefused(WorkbenchError):
    """Another service answered with an error; its code and message are in `details`."""

    code, status = "peer_refused", 502


class PeerAnswerInvalid(PeerRefused):
    """Another service answered something that does not fit the schema of its answer."""

    code = "peer_answer_invalid"


class PeerUnreadable(PeerUnreachable):
    """What answered in another service's place is no JSON object: a proxy's page, perhaps."""

    code = "peer_unreadable"
