"""What a network in a file takes and gives, read from a small YAML file; `rtpe/recipes/networks` has examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from rtpe.errors import UserError
from rtpe.files import shipped
from rtpe.geometry import Affine, centered, letterbox, round_up
from rtpe.heads import HEADS
from rtpe.plain import read_regular, yaml_value
from rtpe.settings.limits import FINITE
from rtpe.skeleton import Skeleton, skeleton

NETWORK_FILES = (".onnx", ".xml")
MOST = 1 << 20  # pixels of a side, or channels: no network has more, and a float holds it
KINDS = tuple(name for name, head in HEADS.items() if head.decoded)


class Channels(NamedTuple):
    """An output of a network, and the channels of it that are wanted, in the wanted order."""

    output: str
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Description:
    """What a network takes and gives.

    Attributes:
        name: how caches and messages call it.
        skeleton: the joints of its heatmaps.
        stride: input pixels a cell.
        heatmaps, tags: one channel for each joint.
        pafs: x and y of each limb of the skeleton in turn.
        centers: one channel, with a peak at each person's center.
        offsets: x and y of each joint in turn, in cells: from a person's center to the joint.
        shifts: x and y of each joint in turn, in cells: from the cell of a peak to the joint.
        origin: offsets and shifts are told from the center of a cell, or from its corner.
        to_skeleton: the joints that are asked of it, or None for all of its own.
        input: the name of its input, or None if it has but one.
        input_hw: every image is letterboxed into this size; or None, and then:
        short_side, max_side: the input's short side gets this length, less where its long side would exceed the other;
            both sides are rounded up to the stride, or to `multiple`, the image is centered in them.
        top_down: it sees one person a crop, of size input_hw, instead of the whole image.
        color: order of its three input channels, rgb or bgr.
        scale, mean, std: it takes (value * scale - mean) / std of values 0..255; mean and std are in that order.
        min_score: people of a lower score are doubtful: the score of the best F1, as `rtpe validate` prints it.

    Raises:
        UserError: if some of it contradicts the rest.
    """

    name: str
    skeleton: Skeleton
    stride: int
    heatmaps: Channels
    tags: Channels | None = None
    pafs: Channels | None = None
    centers: Channels | None = None
    offsets: Channels | None = None
    shifts: Channels | None = None
    origin: str = "center"
    to_skeleton: Skeleton | None = None
    input: str | None = None
    input_hw: tuple[int, int] | None = None
    short_side: int | None = None
    max_side: int | None = None
    multiple: int | None = None
    top_down: bool = False
    color: str = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    min_score: float | None = None

    def __post_init__(self):
        if (self.input_hw is None) == (self.short_side is None):
            raise UserError("input_hw, short_side: give one of them")
        if self.top_down and not self.input_hw:
            raise UserError("top_down: expected input_hw, the size of a crop, got a short_side")
        if self.input_hw and any(side % self.stride for side in self.input_hw):
            raise UserError(f"input_hw: expected multiples of the stride {self.stride}, got {list(self.input_hw)}")
        if (self.centers is None) != (self.offsets is None):
            raise UserError("centers, offsets: give both of them, or neither")
        if self.origin != "center" and not (self.offsets or self.shifts):
            raise UserError(f"origin {self.origin}: has no effect without offsets or shifts: leave it out")
        for kind, chosen in self.maps.items():
            count = HEADS[kind].channels(len(self.skeleton), len(self.skeleton.limbs))
            if len(chosen.channels) != count:
                raise UserError(
                    f"{kind}.channels: expected {count} for {self.skeleton.name}, got {len(chosen.channels)}"
                )
        if self.multiple and (self.multiple % self.stride or self.input_hw):
            raise UserError(
                f"multiple: expected one of the stride {self.stride}, beside short_side, got {self.multiple}"
            )
        self._check_channels()
        self.joints.order_in(self.skeleton)

    def _check_channels(self) -> None:
        """A channel named twice is a slip of the pen: two joints would always lie on one place."""
        seen: dict[tuple[str, int], str] = {}
        for kind, (output, channels) in self.maps.items():
            for channel in channels:
                if (output, channel) in seen:
                    raise UserError(
                        f"{kind}: channel {channel} of output {output} is taken by {seen[output, channel]} already: "
                        "name each channel once"
                    )
                seen[output, channel] = kind

    @property
    def joints(self) -> Skeleton:
        """The joints that are asked of it."""
        return self.to_skeleton or self.skeleton

    @property
    def plain(self) -> bool:
        """Whether it takes the values of an image as they are, 0 to 255."""
        return self.scale == 1 and set(self.mean) == {0} and set(self.std) == {1}

    @property
    def maps(self) -> dict[str, Channels]:
        """Its kinds of maps: heatmaps, and others as far as it has them."""
        return {kind: getattr(self, kind) for kind in KINDS if getattr(self, kind)}

    def frame(self, image_hw: tuple[int, int]) -> tuple[tuple[int, int], Affine]:
        """The size of the input for such an image, and the map from the image to it; the aspect is kept."""
        if self.input_hw:
            return self.input_hw, letterbox(image_hw, self.input_hw)
        scale = self.short_side / min(image_hw)
        if self.max_side:
            scale = min(scale, self.max_side / max(image_hw))
        input_hw = tuple(round_up(side * scale, self.multiple or self.stride) for side in image_hw)
        return input_hw, centered(image_hw, input_hw, scale)


def read_description(path: str | Path) -> Description:
    """Read a YAML file with the keys of `Description`, or by its name, such as hpe0001, one that comes with rtpe.

    All kinds of maps but one are `{output: name, channels: [...]}`; `pafs` are `{output: name, limbs: [...]}`, a limb
    being `[from, to, channel of x, channel of y]`.

    Raises:
        UserError: if it is missing or no YAML, or a key is unknown, missing or ill-typed; names the file and the key.
    """
    path = shipped(str(path), "recipes/networks")
    where = f"network {path}"
    try:
        raw = yaml_value(read_regular(path).decode("utf-8-sig"))
    except (OSError, ValueError) as error:  # missing, no text, or no YAML
        raise UserError(f"{where}: cannot be read ({' '.join(str(error).split())})") from error
    required = [field.name for field in fields(Description) if field.default is MISSING]
    try:
        values = _values(raw, _KEYS, required)
        for kind in KINDS:
            if kind in values:
                values[kind] = _channels(values[kind], values["skeleton"])
        return Description(**values)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _channels(output: dict[str, Any], joints: Skeleton) -> Channels:
    limbs = output.get("limbs")
    return Channels(output["output"], output["channels"] if limbs is None else _in_limb_order(limbs, joints))


class _Key(NamedTuple):
    """What a key wants, in words and as a check, and how its value is then read."""

    want: str
    holds: Callable[[Any], bool]
    read: Callable[[Any], Any]


def _values(raw: Any, keys: dict[str, _Key], required: list[str], prefix: str = "") -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise UserError(f"{prefix[:-1] or 'content'}: expected keys {', '.join(keys)}, got {raw!r}")
    for key in raw:
        if key not in keys:
            raise UserError(f"{prefix}{key}: unknown key, choose from {', '.join(keys)}")
    for key in required:
        if key not in raw:
            raise UserError(f"{prefix}{key}: missing, expected {keys[key].want}")
    for key, value in raw.items():
        if not keys[key].holds(value):
            raise UserError(f"{prefix}{key}: expected {keys[key].want}, got {value!r}")
    return {key: keys[key].read(value) for key, value in raw.items()}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_index(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST  # True is an int, but no index


def _is_natural(value: Any) -> bool:
    return _is_index(value) and value > 0


def _is_number(value: Any) -> bool:
    return FINITE.holds(value)  # whole numbers may have more digits than a float holds


def _list_of(holds: Callable[[Any], bool], count: int | None = None) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) == (count or len(value)) and all(map(holds, value))


def _is_limb(value: Any) -> bool:
    return _list_of(lambda _: True, 4)(value) and all(map(_is_text, value[:2])) and all(map(_is_index, value[2:]))


_OUTPUT = _Key("the name of an output", _is_text, str)
_CHANNELS = {"output": _OUTPUT, "channels": _Key("a list of channel numbers", _list_of(_is_index), tuple)}
_LIMBS = {
    "output": _OUTPUT,
    "limbs": _Key("a list of [from, to, channel of x, channel of y]", _list_of(_is_limb), list),
}


def _output(kind: str, keys: dict[str, _Key]) -> _Key:
    """A mapping with these keys, both required."""
    return _Key(
        f"a mapping with {' and '.join(keys)}",
        lambda value: isinstance(value, dict),
        lambda value: _values(value, keys, list(keys), f"{kind}."),
    )


_KEYS = {
    "name": _Key("a name", _is_text, str),
    "skeleton": _Key("the name of a skeleton", _is_text, skeleton),
    "to_skeleton": _Key("the name of a skeleton", _is_text, skeleton),
    "stride": _Key("a whole number above 0", _is_natural, int),
    **{kind: _output(kind, _LIMBS if HEADS[kind].of == "limbs" else _CHANNELS) for kind in KINDS},
    "origin": _Key("center or corner", lambda value: value in ("center", "corner"), str),
    "input": _Key("the name of an input", _is_text, str),
    "input_hw": _Key("[height, width]", _list_of(_is_natural, 2), tuple),
    "short_side": _Key("a whole number above 0", _is_natural, int),
    "max_side": _Key("a whole number above 0", _is_natural, int),
    "multiple": _Key("a whole number above 0", _is_natural, int),
    "top_down": _Key("true or false", lambda value: isinstance(value, bool), bool),
    "color": _Key("rgb or bgr", lambda value: value in ("rgb", "bgr"), str),
    "scale": _Key("a number", _is_number, float),
    "min_score": _Key("a number", _is_number, float),
    "mean": _Key("three numbers", _list_of(_is_number, 3), tuple),
    "std": _Key("three numbers above 0", _list_of(lambda value: _is_number(value) and value > 0, 3), tuple),
}


def _in_limb_order(limbs: list[list], joints: Skeleton) -> tuple[int, ...]:
    """The channels of x and y of every limb of the skeleton, in its order.

    Raises:
        UserError: if one is missing or given twice.
    """
    channels: dict[tuple[str, str], tuple[int, int]] = {}
    for start, end, x, y in limbs:
        if (start, end) in channels:
            raise UserError(f"pafs.limbs: [{start}, {end}] is given twice: name each limb once")
        channels[start, end] = x, y
    names = [(joints.joints[a], joints.joints[b]) for a, b in joints.limbs]
    missing = [f"[{start}, {end}]" for start, end in names if (start, end) not in channels]
    if missing:
        raise UserError(f"pafs.limbs: {', '.join(missing)} of skeleton {joints.name} missing")
    return tuple(channel for name in names for channel in channels[name])
