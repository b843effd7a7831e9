"""What a cache says of itself: who spoke, of which images, for which skeleton, stored how exactly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rtpe.cache.codecs import codec as codec_of
from rtpe.cache.stores import STORES
from rtpe.errors import UserError
from rtpe.files import write_file
from rtpe.plain import read_json
from rtpe.skeleton import Skeleton
from rtpe.version import __version__

FORMAT = 3
FILE = "manifest.json"
_RECORDS = ("source", "settings", "version")  # how it was made; all other fields decide what the entries hold


@dataclass(frozen=True)
class Manifest:
    """What decides the contents of a cache, and a record of how it was made; plain values, kept as `manifest.json`.

    Attributes:
        predictor: who spoke, as `Predictor.describe()` tells it: `name`, `weights_sha256`, `settings`.
        skeleton: the joints of every entry.
        source: which images, as free text: the data root's name and the split; a record only, for each entry says which
            image it is of.
        store, codec: names in STORES and CODECS.
        bound: the error that the codec states, see `Bound`; filled in when empty.
        tags: whether tag maps are kept, where the predictor gives any.
        size: what the network looks at: its short side or [height, width] in pixels; None if not stated.
        stride: pixels of the network's input per cell of the maps; None if not stated.
        settings: the resolved settings of the run that made the cache; a record only.
        version: the rtpe that made it; a record only.
        format: of the files; another one than FORMAT is not read.

    Raises:
        UserError: if the store or codec is unknown, or a value is not plain.
    """

    predictor: Mapping[str, Any]
    skeleton: Skeleton
    source: str = ""
    store: str = "hdf5"
    codec: str = "sparse"
    bound: Mapping[str, float] = field(default_factory=dict)
    tags: bool = True
    size: int | list[int] | None = None
    stride: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__
    format: int = FORMAT

    def __post_init__(self):
        if self.store not in STORES:
            raise UserError(f"unknown store {self.store!r}: choose from {', '.join(STORES)}")
        bound = self.bound or asdict(codec_of(self.codec).bound)
        for name, value in (
            ("bound", bound),
            *((key, getattr(self, key)) for key in ("predictor", "size", "settings")),
        ):
            object.__setattr__(self, name, _plain(name, value))
        for name, (want, fits) in _VALUES.items():
            if not fits(getattr(self, name)):
                raise UserError(f"manifest: expected {name} to be {want}, got {_text(getattr(self, name))}")

    def differences(self, other: Manifest) -> list[str]:
        """One line for everything that the two caches would not hold alike, as `what: this, not other`."""
        lines = []
        for name in (each.name for each in fields(self) if each.name not in _RECORDS):
            mine, theirs = getattr(self, name), getattr(other, name)
            if name == "skeleton":
                lines += _skeleton_differences(mine, theirs)
            else:
                lines += _differences(name, mine, theirs)
        return lines

    def write(self, path: Path) -> None:
        """Write it into the folder of a cache, whole or not at all."""
        said = asdict(self)
        write_file(path / FILE, json.dumps({**said, "checksum": _checksum(said)}, indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read it from the folder of a cache.

        Raises:
            UserError: if the folder or the file is missing, damaged, or of another format.
        """
        try:
            raw = read_json(path / FILE)
        except OSError as error:
            what = f"has no {FILE}" if path.is_dir() else "there is no such folder"
            raise UserError(f"cache {path}: {what}: build it with `rtpe cache build` or check --cache.path") from error
        except ValueError as error:
            raise UserError(
                f"cache {path}: {FILE} is no JSON ({error}): restore it or build the cache again"
            ) from error
        if isinstance(raw, dict) and isinstance(raw.get("format"), int) and raw["format"] != FORMAT:
            remedy = "update rtpe" if raw["format"] > FORMAT else "build the cache again"
            raise UserError(f"cache {path}: format {raw['format']}, this rtpe {__version__} reads {FORMAT}: {remedy}")
        try:
            if raw.pop("checksum") != _checksum(raw):
                raise UserError("its checksum does not match")
            return cls(**{**raw, "skeleton": _skeleton(raw["skeleton"])})
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise UserError(
                f"cache {path}: {FILE} is not understood ({error}): restore it or build the cache again"
            ) from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, list) else [value]
    return value is None or all(_is_number(side) for side in sides)


_VALUES = {  # what a file may hold otherwise, under a checksum that fits
    "predictor": ("values by name", lambda value: isinstance(value, dict)),
    "settings": ("values by name", lambda value: isinstance(value, dict)),
    "bound": (
        "numbers or nothing by name",
        lambda value: isinstance(value, dict) and all(each is None or _is_number(each) for each in value.values()),
    ),
    "format": (str(FORMAT), lambda value: type(value) is int and value == FORMAT),
    "source": ("text", lambda value: isinstance(value, str)),
    "codec": ("text", lambda value: isinstance(value, str)),
    "version": ("text", lambda value: isinstance(value, str)),
    "tags": ("true or false", lambda value: isinstance(value, bool)),
    "size": ("a side, two, or nothing", _is_size),
    "stride": ("a number or nothing", lambda value: value is None or _is_number(value)),
}


def _checksum(said: Mapping[str, Any]) -> str:
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(name: str, value: Any) -> Any:
    """The value as JSON gives it back, so that a manifest equals its own file."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UserError(f"manifest: {name} must be plain numbers, texts, lists and dicts ({error})") from error


def _skeleton(raw: dict) -> Skeleton:
    limbs, swap = (tuple((int(a), int(b)) for a, b in raw[pairs]) for pairs in ("limbs", "swap"))
    return Skeleton(str(raw["name"]), tuple(raw["joints"]), limbs, tuple(raw["sigmas"]), swap)


def _skeleton_differences(mine: Skeleton, theirs: Skeleton) -> list[str]:
    if mine.name != theirs.name:
        return [f"skeleton: {mine.name}, not {theirs.name}"]
    parts = [part for part in ("joints", "limbs", "sigmas", "swap") if getattr(mine, part) != getattr(theirs, part)]
    return [f"skeleton: another {mine.name}, which differs in its {' and '.join(parts)}"] if parts else []


def _differences(name: str, mine: Any, theirs: Any) -> Iterator[str]:
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        for key in sorted({*mine, *theirs}):
            yield from _differences(f"{name}.{key}", mine.get(key), theirs.get(key))
    elif mine != theirs:
        yield f"{name}: {_text(mine)}, not {_text(theirs)}"


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, default=repr)
    return text if len(text) <= 40 else f"{text[:12]}..."
