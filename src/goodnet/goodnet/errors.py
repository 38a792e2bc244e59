# SPDX-License-Identifier: GPL-3.0-or-later
"""What GoodNet answers when it cannot do what was asked of it, as the CNI specification has it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Error codes of the CNI specification, and our own from 100 on.
INCOMPATIBLE, UNKNOWN_CONTAINER, BAD_ENVIRONMENT, IO_FAILURE, UNDECODABLE, BAD_CONFIG = 1, 3, 4, 5, 6, 7
TRY_AGAIN, UNAVAILABLE, FAILED, NO_ADDRESS, DIFFERS = 11, 50, 100, 101, 102


class CniError(Exception):
    """An error as the CNI specification wants it: code, message (what is wrong) and details (what to do)."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, details

    def __str__(self) -> str:
        return f"{self.message}. {self.details}" if self.details else self.message

    def as_error(self) -> dict[str, Any]:
        """As the specification has it printed."""
        return {"code": self.code, "msg": self.message, "details": self.details}
