"""Networks in files as predictors: .onnx through onnxruntime, .xml (OpenVINO IR) through openvino.

A small YAML file says what the network takes and gives, see `description`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rtpe.decode.center_offsets import CenterSettings, from_centers
from rtpe.decode.grouping import GroupingSettings, group
from rtpe.decode.paf import PafSettings, assemble
from rtpe.errors import UserError
from rtpe.geometry import HALF, Affine, cells
from rtpe.heads import HEADS
from rtpe.predictors.adapters.checksum import checksum_of
from rtpe.predictors.adapters.description import Description, read_description
from rtpe.predictors.adapters.runtime import FLOATS, Network, load_network
from rtpe.predictors.finite import EXPORT, require_finite
from rtpe.predictors.pictures import OfPictures
from rtpe.predictors.top_down import CropModel, TopDownPredictor, TopDownSettings
from rtpe.raster import warp
from rtpe.skeleton import Skeleton
from rtpe.structures import Boxes, PoseMaps, Prediction

_DECODERS = {PafSettings: assemble, CenterSettings: from_centers, GroupingSettings: group}
Reading = PafSettings | CenterSettings | GroupingSettings
# keys that go unsaid where nobody asks for them, as before there was a choice: old caches go on
_LATER = {"centers": None, "offsets": None, "shifts": None, "origin": "center", "multiple": None}


@dataclass(frozen=True)
class OnnxPredictor(OfPictures):
    """A network in a file as a predictor; `from_onnx` makes it.

    Its maps are those of the network on its own grid, the people are read with part-affinity fields if it has them,
    else with centers and offsets, else with tags, else one person is read.
    """

    network: Network
    description: Description
    weights_sha256: str
    decode: Reading
    batch: int

    @property
    def skeleton(self) -> Skeleton:
        return self.description.joints

    @property
    def min_score(self) -> float | None:
        return self.description.min_score

    def __call__(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Predict (H, W, 3) uint8 RGB images of any sizes; one prediction each, in original-image pixels.

        Raises:
            UserError: if an image is none, or the network gives other maps than described.
        """
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise UserError(f"image: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        frames = [self.description.frame(image.shape[:2]) for image in images]
        predictions: dict[int, Prediction] = {}
        for chosen in _batches([input_hw for input_hw, _ in frames], self.batch):
            maps = self._maps([images[i] for i in chosen], [frames[i] for i in chosen])
            predictions.update(zip(chosen, map(self._read, maps)))
        return [predictions[i] for i in range(len(images))]

    def describe(self) -> dict:
        """Who speaks: plain values, equal for equal predictors."""
        settings = _said(self.description) | {"decode": asdict(self.decode)}
        del settings["top_down"]  # never here: caches made before there was a choice go on
        return {"name": settings.pop("name"), "weights_sha256": self.weights_sha256, "settings": settings}

    def _read(self, maps: PoseMaps) -> Prediction:
        poses = _DECODERS[type(self.decode)](maps, self.decode)
        return Prediction(maps.as_skeleton(self.skeleton), poses.as_skeleton(self.skeleton))

    def _maps(self, images: list[np.ndarray], frames: list[tuple[tuple[int, int], Affine]]) -> Iterator[PoseMaps]:
        """The maps of images that have one input size, all that the network gives."""
        described, input_hw = self.description, frames[0][0]
        outputs = self.network.run(_inputs(images, frames, described))
        chosen = {kind: _channels(described, outputs, kind, len(images), input_hw) for kind in described.maps}
        require_finite(described.name, EXPORT, **chosen)
        for i, (image, (_, affine)) in enumerate(zip(images, frames)):
            maps = {kind: of_all[i] for kind, of_all in chosen.items()}
            if "tags" in maps:
                maps["tags"] = maps["tags"][None]
            for kind in maps if described.origin == "corner" else ():
                if HEADS[kind].of == "vectors":
                    maps[kind] = maps[kind] - HALF
            to_image = affine.inverse() @ cells(described.stride)
            yield PoseMaps(maps.pop("heatmaps"), to_image, image.shape[:2], described.skeleton, maps)


def from_onnx(
    weights: str | Path,
    description: str | Path,
    size: int | tuple[int, int] | None = None,
    threads: int | None = None,
    batch: int = 8,
    decode: Reading | None = None,
) -> OnnxPredictor:
    """Load a network and its description.

    Args:
        weights: an .onnx file, or an .xml file with its .bin file beside it.
        description: a YAML file with the keys of `Description`.
        size: instead of the described one: (height, width), or the length of the short side.
        threads: of the processor; None leaves it to the runtime.
        batch: images in one run; only images of equal input size can share one.
        decode: how people are read.

    Raises:
        UserError: if a file is missing or wrong, they contradict each other, or the runtime is not installed.
    """
    described = read_description(description)
    if described.top_down:
        raise UserError(f"network {description}: sees one person a crop, not whole images: give it boxes")
    if isinstance(size, int):
        described = replace(described, input_hw=None, short_side=size)
    elif size is not None:
        described = replace(described, input_hw=tuple(size), short_side=None)
    network, checksum = _opened(Path(weights), description, described, threads)
    decode = decode or _reading(described)
    return OnnxPredictor(network, described, checksum, decode, network.shape[0] or batch)


def _reading(described: Description) -> Reading:
    if described.pafs:
        return PafSettings()
    if described.centers:
        return CenterSettings(refine="shifts" if described.shifts else "dark")
    return GroupingSettings()


def top_down_from_onnx(
    weights: str | Path,
    description: str | Path,
    settings: TopDownSettings,
    boxes: Mapping[int, Boxes],
    boxes_from: Mapping[str, Any],
    threads: int | None = None,
    batch: int = 8,
) -> TopDownPredictor:
    """Load a network that sees one person a crop; `settings`, but for the size, and boxes are as of `TopDownPredictor`.

    Raises:
        UserError: see `from_onnx`; if its input is not of one size.
    """
    described = read_description(description)
    if not described.input_hw:
        raise UserError(f"network {description}: sees whole images of any size: leave out --teacher.boxes")
    network, checksum = _opened(Path(weights), description, described, threads)
    said = _said(described)
    return TopDownPredictor(
        look=_look(network, described),
        skeleton=described.joints,
        settings=replace(settings, size_hw=described.input_hw),
        stride=described.stride,
        name=said.pop("name"),
        weights_sha256=checksum,
        boxes=boxes,
        boxes_from=boxes_from,
        net=said,
        batch=network.shape[0] or batch,
        min_score=described.min_score,
    )


def _look(network: Network, described: Description) -> CropModel:
    order = described.joints.order_in(described.skeleton)

    def look(crops: np.ndarray) -> np.ndarray:
        outputs = network.run(_normalised(crops, described))
        return _channels(described, outputs, "heatmaps", len(crops), crops.shape[1:3])[:, order]

    return look


def _said(described: Description) -> dict[str, Any]:
    """What of the description its maps and people depend on, in plain values."""
    names = {"skeleton": described.skeleton.name, "to_skeleton": described.joints.name}
    said = json.loads(json.dumps(asdict(described) | names))
    del said["min_score"]
    return {name: value for name, value in said.items() if name not in _LATER or value != _LATER[name]}


def _channels(
    described: Description, outputs: dict[str, np.ndarray], kind: str, count: int, input_hw: tuple[int, int]
) -> np.ndarray:
    """The maps of that kind, (B, C, h, w) for B images."""
    name, channels = described.maps[kind]
    grid_hw = tuple(side // described.stride for side in input_hw)
    got = outputs[name].shape[1:]
    if len(got) != 3 or got[0] <= max(channels) or got[1:] != grid_hw:
        raise UserError(
            f"network {described.name}: {kind}: output {name} should hold {max(channels) + 1} or more "
            f"channels of {grid_hw} cells, got {got}: correct stride or channels"
        )
    if len(outputs[name]) != count:
        raise UserError(
            f"network {described.name}: {kind}: output {name} has maps of {len(outputs[name])} images for {count}: "
            "export it with a free number of images, or pass --teacher.batch 1"
        )
    return outputs[name][:, list(channels)]


def _batches(sizes_hw: Sequence[tuple[int, int]], batch: int) -> Iterator[list[int]]:
    """Indices of images that have the same input size, a batch at a time."""
    for size_hw in dict.fromkeys(sizes_hw):
        indices = [i for i, other_hw in enumerate(sizes_hw) if other_hw == size_hw]
        yield from (indices[i : i + batch] for i in range(0, len(indices), batch))


def _inputs(
    images: list[np.ndarray], frames: list[tuple[tuple[int, int], Affine]], described: Description
) -> np.ndarray:
    """The images as a batch, (B, 3, H, W) float32, as the network wants it; black where no image is."""
    views = np.stack([warp(image, affine, input_hw) for image, (input_hw, affine) in zip(images, frames)])
    return _normalised(views, described)


def _normalised(views: np.ndarray, described: Description) -> np.ndarray:
    """Views, (B, H, W, 3) uint8 RGB, as (B, 3, H, W) float32 in the order and range that the network wants."""
    views = views[..., ::-1] if described.color == "bgr" else views
    mean, std = np.float32(described.mean), np.float32(described.std)
    return np.ascontiguousarray(((views * np.float32(described.scale) - mean) / std).transpose(0, 3, 1, 2))


def _opened(path: Path, description: str | Path, described: Description, threads: int | None) -> tuple[Network, str]:
    """The network, checked against its description, and the checksum of its weights."""
    checksum = checksum_of(path)
    network = load_network(path, threads, described.input)
    try:
        _check(network, described)
    except ValueError as error:
        raise UserError(f"network {description}: {error}") from error
    return network, checksum


def _check(network: Network, described: Description) -> None:
    """That the network has what is described.

    Raises:
        UserError: if not.
    """
    for kind, (output, _) in described.maps.items():
        if output not in network.outputs:
            raise UserError(f"{kind}.output: no {output}, choose from {', '.join(network.outputs)}")
        if network.outputs[output] not in FLOATS:
            raise UserError(f"{kind}.output: {output} is of type {network.outputs[output]}: export it with floats")
    if not (described.plain or np.issubdtype(network.dtype, np.floating)):
        raise UserError(f"input: the network takes {network.dtype}, values of 0 to 255: leave out scale, mean and std")
    if len(network.shape) != 4 or network.shape[1] not in (None, 3):
        raise UserError(f"input: expected (B, 3, H, W), the network takes {network.shape}")
    asked_hw = described.input_hw or (None, None)
    if any(fixed not in (None, asked) for fixed, asked in zip(network.shape[2:], asked_hw)):
        raise UserError(
            f"input_hw: expected {list(network.shape[2:])}, all that the network takes, got {list(asked_hw)}"
        )
    if network.shape[0] not in (None, 1):
        raise UserError(f"input: the network takes only {network.shape[0]} images at once: export it for one, or any")
