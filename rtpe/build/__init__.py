"""The one switchboard from names in settings to objects; a module is imported when something of it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES = {
    "rtpe.build.data": ("Images", "cache", "dataset"),
    "rtpe.build.decoders": ("chosen", "decoder", "groupings"),
    "rtpe.build.nets": ("imitated_stem", "net", "numbers_of", "refuse_numbers", "save_net", "trainable_net"),
    "rtpe.build.predictors": ("device", "predictor"),
    "rtpe.build.readable": ("few_predicted", "require_readable"),
}
_WHERE = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    """Nets need torch, which commands that look at caches do without."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
