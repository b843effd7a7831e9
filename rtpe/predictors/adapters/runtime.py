"""What runs networks in files: onnxruntime for .onnx, openvino for .xml, both on the CPU in float32."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from rtpe.errors import UserError
from rtpe.nets.pretrained import reason

# as onnxruntime and openvino call the types that are fed; int8 holds no 0 to 255, and numpy has no bfloat16
_NAMES = {
    "float32": ("tensor(float)", "f32"),
    "float64": ("tensor(double)", "f64"),
    "float16": ("tensor(float16)", "f16"),
    "uint8": ("tensor(uint8)", "u8"),
    "uint16": ("tensor(uint16)", "u16"),
    "int16": ("tensor(int16)", "i16"),
    "int32": ("tensor(int32)", "i32"),
    "int64": ("tensor(int64)", "i64"),
}
FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)", "f16", "f32", "f64", "bf16")
_TYPES = {each: np.dtype(name) for name, both in _NAMES.items() for each in both}


class Network(NamedTuple):
    """A network that runs.

    Attributes:
        run: (B, 3, H, W) float32 -> its outputs by name, each (B, C, h, w) float32.
        shape: of its input, None where it takes any number.
        dtype: of its input, to which `run` casts.
        outputs: the type of each, by its name.
    """

    run: Callable[[np.ndarray], dict[str, np.ndarray]]
    shape: tuple[int | None, ...]
    dtype: np.dtype
    outputs: Mapping[str, str]


def load_network(path: Path, threads: int | None, name: str | None) -> Network:
    """The network in a file.

    Args:
        threads: of the processor; None leaves it to the runtime.
        name: of its input; None if it has but one.

    Raises:
        UserError: if it is no such file or cannot be read, has another input, or the runtime is not installed.
    """
    try:
        return _RUNTIMES[path.suffix.lower()](path, threads, name)
    except UserError:
        raise
    except Exception as error:  # each runtime has classes of its own
        raise UserError(f"weights {path}: cannot be read ({' '.join(str(error).split())})") from error


def _onnxruntime(path: Path, threads: int | None, name: str | None) -> Network:
    onnxruntime = runtime("onnxruntime", path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 4  # its lines are about the file's making, or come again as an exception
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = {each.name: each for each in session.get_inputs()}
    name = _input(name, inputs, path)
    lacking = sorted(inputs.keys() - {name})  # one with a constant of its own is none of these
    if lacking:
        raise UserError(
            f"weights {path}: also takes {', '.join(lacking)}, which nobody gives: export it with one input"
        )
    outputs = {each.name: each.type for each in session.get_outputs()}
    maps = [each for each, kind in outputs.items() if kind in FLOATS]  # others are none of anybody's maps
    shape = tuple(n if isinstance(n, int) else None for n in inputs[name].shape)

    def compute(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(maps, session.run(maps, {name: images})))

    return _network(path, compute, shape, inputs[name].type, outputs)


def _openvino(path: Path, threads: int | None, name: str | None) -> Network:
    openvino = runtime("openvino", path)
    core = openvino.Core()
    model = core.read_model(path, weights_beside(path))
    inputs = {each.any_name: each for each in model.inputs}
    name = _input(name, inputs, path)
    stored = tuple(each.get_length() if each.is_static else None for each in inputs[name].partial_shape)
    require_nchw(path, stored)
    kind = inputs[name].element_type.get_type_name()
    model.reshape({name: [-1, 3, -1, -1]})  # it is stored for one size and one image, but made of convolutions
    # left to itself it takes bfloat16 where the processor has it: a teacher would say other things elsewhere
    hints = {"INFERENCE_PRECISION_HINT": "f32"} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
    compiled = core.compile_model(model, "CPU", hints)
    outputs = {each.any_name: each.element_type.get_type_name() for each in compiled.outputs}

    def compute(images: np.ndarray) -> dict[str, np.ndarray]:
        return {each.any_name: values for each, values in compiled({name: images}).items()}

    return _network(path, compute, (None, 3, None, None), kind, outputs)


_RUNTIMES = {".onnx": _onnxruntime, ".xml": _openvino}
SUFFIXES = tuple(_RUNTIMES)


def _network(
    path: Path,
    compute: Callable[[np.ndarray], dict[str, np.ndarray]],
    shape: tuple[int | None, ...],
    kind: str,
    outputs: Mapping[str, str],
) -> Network:
    """A network whose input and outputs are cast, and whose runtime's errors are one line."""
    require_nchw(path, shape)
    if kind not in _TYPES:
        raise UserError(
            f"weights {path}: its input is of type {kind}: export it with an input of float32, float16 or uint8"
        )

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        try:
            found = compute(images.astype(_TYPES[kind], copy=False))
        except Exception as error:  # each runtime has classes of its own
            size = " x ".join(map(str, images.shape))
            raise UserError(
                f"weights {path}: cannot compute an input of {size} ({reason(error)}): check the sizes and the input "
                "in its description"
            ) from error
        return {name: np.asarray(values).astype(np.float32, copy=False) for name, values in found.items()}

    return Network(run, shape, _TYPES[kind], outputs)


def require_nchw(path: Path, shape: tuple[int | None, ...]) -> None:
    """Raise UserError if the channels of an input come last."""
    if len(shape) == 4 and shape[3] == 3 and shape[1] not in (None, 3):
        said = ", ".join("any" if side is None else str(side) for side in shape)
        raise UserError(
            f"weights {path}: its input is ({said}), channels last (NHWC): rtpe gives it (B, 3, H, W): export it so, "
            "or put a Transpose before it"
        )


def weights_beside(path: Path) -> Path:
    """The file with the weights of an .xml, whose suffix may be in capitals."""
    plain = path.with_suffix(".bin")
    capitals = path.with_suffix(".BIN")
    return capitals if capitals.exists() and not plain.exists() else plain


def runtime(name: str, path: Path) -> ModuleType:
    """The package of that name.

    Raises:
        UserError: if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"weights {path}: {name} is not installed: pip install rtpe[export]") from error


def _input(name: str | None, names: Collection[str], path: Path) -> str:
    """The input that is described, or the only one."""
    if name in names or (name is None and len(names) == 1):
        return name or next(iter(names))
    want = "one input" if name is None else f"an input {name}"
    raise UserError(f"weights {path}: expected {want}, got {', '.join(names)}: describe one of them as input")
