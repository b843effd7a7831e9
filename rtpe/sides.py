"""Left and right in the names of joints: which names are of one side, and which two differ in their side alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OTHER = {"left": "right", "right": "left", "l": "r", "r": "l"}
# `LeftWrist`, `wristL` and `LWrist` are two words each, `L5` (a vertebra) is one
_WORD = re.compile(r"[A-Z]?[a-z]+\d*|[A-Z]+(?![a-z])\d*|[^\W_]+")


def mirrored(joint: str) -> str:
    """The name of the same joint on the other side, for a name that begins with `left_` or `right_`; else the name.

    >>> mirrored("left_eye"), mirrored("nose")
    ('right_eye', 'nose')
    """
    for side in ("left_", "right_"):
        if joint.startswith(side):
            return f"{_OTHER[side[:-1]]}_{joint.removeprefix(side)}"
    return joint


def has_side(joint: str) -> bool:
    """Whether a word of the name is left or right, or its first or last one l or r.

    >>> [has_side(joint) for joint in ("front-Left paw", "wristL", "collar", "lower_lip", "L5")]
    [True, True, False, False, False]
    """
    words = _words(joint)
    return not {"left", "right"}.isdisjoint(words) or not {"l", "r"}.isdisjoint((*words[:1], *words[-1:]))


def counterparts(joints: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of indices of names that are equal but for one left or right, or one l or r, wherever in the name.

    Capitals and what stands between words do not count.

    >>> counterparts(["lhip", "nose", "FR paw", "RHIP", "fl_paw"])
    [(0, 3), (2, 4)]
    """
    plain = ["".join(_words(joint)) for joint in joints]
    return [(a, b) for b, name in enumerate(plain) for a in range(b) if plain[a] in _other_sides(name)]


def _words(joint: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(joint)]


def _other_sides(name: str) -> set[str]:
    found = ((match, _OTHER[side]) for side in _OTHER for match in re.finditer(side, name))
    return {name[: match.start()] + other + name[match.end() :] for match, other in found}
