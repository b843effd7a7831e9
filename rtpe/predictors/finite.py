"""Maps that are no numbers: weights of NaN, or an overflow, would else be images without people."""

from __future__ import annotations

import numpy as np

from rtpe.errors import NotFinite

PRECISION = "or pass --teacher.precision fp32"
EXPORT = "or export it in float32"


def require_finite(name: str, remedy: str, **maps: np.ndarray | None) -> None:
    """Raise NotFinite if one of a predictor's arrays holds NaN or infinity.

    Args:
        name: of the predictor.
        remedy: what helps besides other weights.
        maps: by the names that the message gives them; None is none.
    """
    for kind, values in maps.items():
        if values is not None and not np.isfinite(values).all():
            raise NotFinite(f"{name}: {kind}: expected finite values, got NaN or infinity: check its weights, {remedy}")
