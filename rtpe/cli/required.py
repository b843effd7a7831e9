"""What a command cannot do without."""

from __future__ import annotations

from rtpe.errors import UserError


def require(value: str, otherwise: str) -> str:
    """The value.

    Raises:
        UserError: if it is empty, with what to pass.
    """
    if not value:
        raise UserError(otherwise)
    return value
