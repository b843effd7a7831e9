"""What a decoder's settings may be."""

from __future__ import annotations

from collections.abc import Mapping

from rtpe.errors import UserError


def refuse_beyond(kind: str, settings: object, wants: Mapping[str, tuple[str, bool]]) -> None:
    """Hold settings to what is wanted of them: by field, in words, and whether it is so.

    Raises:
        UserError: for the first field of which it is not so.
    """
    for name, (want, holds) in wants.items():
        if not holds:
            raise UserError(f"{kind}.{name}: must be {want}, got {getattr(settings, name)}")
