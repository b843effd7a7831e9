"""Networks in files as predictors: .onnx through onnxruntime, .xml (OpenVINO IR) through openvino.

A small YAML file says what the network takes and gives, see `description`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from rtpe.decode.grouping import GroupingSettings, group
from rtpe.decode.paf import PafSettings, assemble
from rtpe.geometry import Affine, cells
from rtpe.images import warp
from rtpe.nets.weights import sha256
from rtpe.predictors.description import Description, read_description
from rtpe.skeleton import Skeleton
from rtpe.structures import PoseMaps, Prediction

_DECODERS = {PafSettings: assemble, GroupingSettings: group}


class Network(NamedTuple):
    """A network that runs.

    Attributes:
        run: (B, 3, H, W) float32 -> its outputs by name, each (B, C, h, w) float32.
        shape: of its input, None where it takes any number.
        outputs: their names.
    """

    run: Callable[[np.ndarray], dict[str, np.ndarray]]
    shape: tuple[int | None, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class OnnxPredictor:
    """A network in a file as a predictor; `from_onnx` makes it.

    Its maps are those of the network on its own grid, the people are read with part-affinity fields if it has them,
    else with tags, else one person is read.
    """

    network: Network
    description: Description
    weights_sha256: str
    decode: PafSettings | GroupingSettings
    batch: int

    @property
    def skeleton(self) -> Skeleton:
        return self.description.joints

    def __call__(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Predict (H, W, 3) uint8 RGB images of any sizes; one prediction each, in original-image pixels.

        Raises:
            ValueError: if an image is none, or the network gives other maps than described.
        """
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise ValueError(f"image: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        frames = [self.description.frame(image.shape[:2]) for image in images]
        predictions: dict[int, Prediction] = {}
        for chosen in _batches([input_hw for input_hw, _ in frames], self.batch):
            maps = self._maps([images[i] for i in chosen], [frames[i] for i in chosen])
            predictions.update(zip(chosen, map(self._read, maps)))
        return [predictions[i] for i in range(len(images))]

    def describe(self) -> dict:
        """Who speaks: plain values, equal for equal predictors."""
        said = asdict(self.description) | {
            "skeleton": self.description.skeleton.name,
            "to_skeleton": self.skeleton.name,
        }
        settings = json.loads(json.dumps(said | {"decode": asdict(self.decode)}))
        return {"name": settings.pop("name"), "weights_sha256": self.weights_sha256, "settings": settings}

    def _read(self, maps: PoseMaps) -> Prediction:
        poses = _DECODERS[type(self.decode)](maps, self.decode)
        return Prediction(maps.as_skeleton(self.skeleton), poses.as_skeleton(self.skeleton))

    def _maps(self, images: list[np.ndarray], frames: list[tuple[tuple[int, int], Affine]]) -> Iterator[PoseMaps]:
        """The maps of images that have one input size, all that the network gives."""
        described, input_hw = self.description, frames[0][0]
        outputs = self.network.run(_inputs(images, frames, described))
        chosen = {kind: self._channels(outputs, kind, input_hw) for kind in described.maps}
        for i, (image, (_, affine)) in enumerate(zip(images, frames)):
            maps = {kind: of_all[i] for kind, of_all in chosen.items()}
            if "tags" in maps:
                maps["tags"] = maps["tags"][None]
            to_image = affine.inverse() @ cells(described.stride)
            yield PoseMaps(to_image=to_image, image_hw=image.shape[:2], skeleton=described.skeleton, **maps)

    def _channels(self, outputs: dict[str, np.ndarray], kind: str, input_hw: tuple[int, int]) -> np.ndarray:
        name, channels = self.description.maps[kind]
        grid_hw = tuple(side // self.description.stride for side in input_hw)
        got = outputs[name].shape[1:]
        if len(got) != 3 or got[0] <= max(channels) or got[1:] != grid_hw:
            raise ValueError(
                f"network {self.description.name}: {kind}: output {name} should hold {max(channels) + 1} or more "
                f"channels of {grid_hw} cells, got {got}: correct stride or channels"
            )
        return outputs[name][:, list(channels)]


def from_onnx(
    weights: str | Path,
    description: str | Path,
    size: int | tuple[int, int] | None = None,
    threads: int | None = None,
    batch: int = 8,
    decode: PafSettings | GroupingSettings | None = None,
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
        ValueError: if a file is missing or wrong, they contradict each other, or the runtime is not installed.
    """
    described = read_description(description)
    if isinstance(size, int):
        described = replace(described, input_hw=None, short_side=size)
    elif size is not None:
        described = replace(described, input_hw=tuple(size), short_side=None)
    path = Path(weights)
    if path.suffix not in _RUNTIMES:
        raise ValueError(f"weights {path}: expected a file {' or '.join(_RUNTIMES)}, got {path.suffix or 'no suffix'}")
    checksum = _sha256(path)
    network = _load(path, threads, described.input)
    try:
        _check(network, described)
    except ValueError as error:
        raise ValueError(f"network {description}: {error}") from error
    decode = decode or (PafSettings() if described.pafs else GroupingSettings())
    return OnnxPredictor(network, described, checksum, decode, network.shape[0] or batch)


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
    views = views[..., ::-1] if described.color == "bgr" else views
    mean, std = np.float32(described.mean), np.float32(described.std)
    return np.ascontiguousarray(((views * np.float32(described.scale) - mean) / std).transpose(0, 3, 1, 2))


def _onnxruntime(path: Path, threads: int | None, name: str | None) -> Network:
    onnxruntime = _runtime("onnxruntime", path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # its warnings are about the file's making, not about its use
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    shapes = {each.name: tuple(n if isinstance(n, int) else None for n in each.shape) for each in session.get_inputs()}
    name = _input(name, shapes, path)
    outputs = tuple(each.name for each in session.get_outputs())
    return Network(lambda inputs: dict(zip(outputs, session.run(outputs, {name: inputs}))), shapes[name], outputs)


def _openvino(path: Path, threads: int | None, name: str | None) -> Network:
    openvino = _runtime("openvino", path)
    core = openvino.Core()
    model = core.read_model(path)
    name = _input(name, [each.any_name for each in model.inputs], path)
    model.reshape({name: [-1, 3, -1, -1]})  # it is stored for one size and one image, but made of convolutions
    # left to itself it takes bfloat16 where the processor has it: a teacher would say other things elsewhere
    hints = {"INFERENCE_PRECISION_HINT": "f32"} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    compiled = core.compile_model(model, "CPU", hints)
    outputs = tuple(each.any_name for each in compiled.outputs)

    def run(inputs: np.ndarray) -> dict[str, np.ndarray]:
        return {each.any_name: values for each, values in compiled({name: inputs}).items()}

    return Network(run, (None, 3, None, None), outputs)


_RUNTIMES = {".onnx": _onnxruntime, ".xml": _openvino}


def _load(path: Path, threads: int | None, name: str | None) -> Network:
    try:
        return _RUNTIMES[path.suffix](path, threads, name)
    except ValueError:
        raise
    except Exception as error:  # each runtime has classes of its own
        raise ValueError(f"weights {path}: cannot be read ({' '.join(str(error).split())})") from error


def _runtime(name: str, path: Path) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(f"weights {path}: {name} is not installed: pip install rtpe[export]") from error


def _input(name: str | None, names: Collection[str], path: Path) -> str:
    """The input that is described, or the only one."""
    if name in names or (name is None and len(names) == 1):
        return name or next(iter(names))
    want = "one input" if name is None else f"an input {name}"
    raise ValueError(f"weights {path}: expected {want}, got {', '.join(names)}: describe one of them as input")


def _check(network: Network, described: Description) -> None:
    """That the network has what is described.

    Raises:
        ValueError: if not.
    """
    for kind, (output, _) in described.maps.items():
        if output not in network.outputs:
            raise ValueError(f"{kind}.output: no {output}, choose from {', '.join(network.outputs)}")
    if len(network.shape) != 4 or network.shape[1] not in (None, 3):
        raise ValueError(f"input: expected (B, 3, H, W), the network takes {network.shape}")
    asked_hw = described.input_hw or (None, None)
    if any(fixed not in (None, asked) for fixed, asked in zip(network.shape[2:], asked_hw)):
        raise ValueError(
            f"input_hw: expected {list(network.shape[2:])}, all that the network takes, got {list(asked_hw)}"
        )
    if network.shape[0] not in (None, 1):
        raise ValueError(f"input: the network takes only {network.shape[0]} images at once: export it for one, or any")


def _sha256(path: Path) -> str:
    """The checksum of the weights; of both files of an .xml."""
    if path.suffix == ".onnx":
        return sha256(path)
    both = sha256(path) + sha256(path.with_suffix(".bin"))
    return hashlib.sha256(both.encode()).hexdigest()
