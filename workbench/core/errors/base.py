"""The root of all errors."""

from __future__ import annotations

from typing import Any, ClassVar


class WorkbenchError(Exception):
    """Root of all errors of the workbench."""

    code: ClassVar[str] = "workbench_error"
    """Stable name of the error, for machines."""
    status: ClassVar[int] = 500
    """HTTP status of an answer with this error."""
    transient: ClassVar[bool] = False
    """True if the same action may succeed later unchanged."""
    kinds: ClassVar[dict[str, type[WorkbenchError]]] = {}
    """All classes by code."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        WorkbenchError.kinds[cls.code] = cls

    def __init__(self, message: str, *, hint: str = "", **details: Any) -> None:
        """`message` names the cause, `hint` the next step. `details` are JSON-ready."""
        super().__init__(message)
        self.message, self.hint, self.details = message, hint, details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def to_json(self) -> dict[str, Any]:
        """Return the body of an HTTP answer: `{error, message, hint?, …details}`."""
        hint = {"hint": self.hint} if self.hint else {}
        head = {"error": self.code, "message": self.message, **hint}
        return {**head, **self.details, **head}
