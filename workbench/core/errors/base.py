"""The root of all errors."""

from __future__ import annotations

from typing import Any, ClassVar


class WorkbenchError(Exception):
    """Root of the tree.

    `message` names the cause, `hint` the next step, `details` are JSON-ready facts.
    """

    code: ClassVar[str] = "workbench_error"
    status: ClassVar[int] = 500
    transient: ClassVar[bool] = False
    kinds: ClassVar[dict[str, type[WorkbenchError]]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        WorkbenchError.kinds[cls.code] = cls

    def __init__(self, message: str, *, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message, self.hint, self.details = message, hint, details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def to_json(self) -> dict[str, Any]:
        """The body sent over the wire: `{error, message, hint?, …details}`."""
        hint = {"hint": self.hint} if self.hint else {}
        head = {"error": self.code, "message": self.message, **hint}
        return {**head, **self.details, **head}
