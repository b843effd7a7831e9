"""Stand-ins for what mmpose imports and its nets never call, where it is not installed.

mmpose asks for torchvision to draw, and the lite build of mmcv lacks the compiled operators that few of its nets use.
The real modules are taken wherever they are. mmengine registers an optimiser of transformers under a name that torch
has by now, and fails: transformers is kept from it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType

MODULES = ("torchvision", "torchvision.transforms", "mmcv._ext")
HIDDEN = ("transformers",)


@contextmanager
def stand_ins() -> Iterator[None]:
    """Within, an import of a missing one of `MODULES` gives a module whose every attribute is None; HIDDEN is missing.

    All is as before afterwards: whoever else asks for torchvision is told the truth.
    """
    changed = {name: _empty(name) for name in MODULES if not _installed(name)} | dict.fromkeys(HIDDEN)
    before = {name: sys.modules[name] for name in changed if name in sys.modules}
    sys.modules.update(changed)
    try:
        yield
    finally:
        for name in changed:
            del sys.modules[name]
        sys.modules.update(before)


def _installed(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # not even what it is a part of
        return False


def _empty(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = []
    module.__getattr__ = lambda attribute: None
    return module
