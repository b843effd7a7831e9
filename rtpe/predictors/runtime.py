"""What runs networks in files: onnxruntime for .onnx, openvino for .xml, both on the CPU in float32."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from rtpe.errors import UserError
from rtpe.nets.weights import sha256


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


def load_network(path: Path, threads: int | None, name: str | None) -> Network:
    """The network in a file.

    Args:
        threads: of the processor; None leaves it to the runtime.
        name: of its input; None if it has but one.

    Raises:
        UserError: if it is no such file or cannot be read, has another input, or the runtime is not installed.
    """
    try:
        return _RUNTIMES[path.suffix](path, threads, name)
    except ValueError:
        raise
    except Exception as error:  # each runtime has classes of its own
        raise UserError(f"weights {path}: cannot be read ({' '.join(str(error).split())})") from error


def checksum_of(path: Path) -> str:
    """The checksum of the weights; of both files of an .xml.

    Raises:
        UserError: if it is neither kind of file, or cannot be read.
    """
    if path.suffix not in _RUNTIMES:
        raise UserError(f"weights {path}: expected a file {' or '.join(_RUNTIMES)}, got {path.suffix or 'no suffix'}")
    if path.suffix == ".onnx":
        return sha256(path)
    both = sha256(path) + sha256(path.with_suffix(".bin"))
    return hashlib.sha256(both.encode()).hexdigest()


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


def _runtime(name: str, path: Path) -> ModuleType:
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
