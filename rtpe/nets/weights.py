"""Weights in and out of files: safetensors, or torch files of which nothing but tensors is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from rtpe.errors import UserError
from rtpe.files import write_file
from rtpe.nets.file_kind import SAFETENSORS, TORCH, mistaken

# under which of their keys training programs keep the weights: the first that is there counts, averages come last
WRAPPERS = (
    "best_state_dict", "state_dict", "model_state_dict", "model", "net", "weights", "weight", "module", "ema",
    "ema_net", "aggregation_network",
)  # fmt: skip
SPARE = 1 << 20  # bytes: of a file so small nothing is worth bounding
DEPTH = 8  # of wrappers in wrappers: a file may hold itself
# what data-parallel, compiled and half-precision wrappers, and training programs, put before every name
PREFIXES = ("module.", "_orig_mod.", "1.", "model.", "net.", "network.", "ema_model.", "backbone.")
COUNTER = "num_batches_tracked"  # of batch norms: of no use to a net that does not train with a cumulative average
STATISTICS = ("running_mean", "running_var")
ALONE = "keep its weights alone, as named tensors: docs/teachers.md has how"
_GLOBAL = re.compile(r"GLOBAL (\S+)")  # what torch calls a class that it does not make
METADATA_KEY = "rtpe"  # all metadata is one value: the order of several is random, and so would be the file's sha256


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a .safetensors or torch file: names without wrappers' prefixes, all floats as float32.

    Raises:
        UserError: if the file is missing, torn, would run code, or holds no weights.
    """
    path = Path(path)
    try:
        if is_safetensors(path):
            loaded = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd pickles: what is no tensor is refused anyway
                _refuse_packed(path)
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has its own exceptions, some of them pages long
        raise UserError(f"weights {path}: {_reason(path, error)}") from error
    state = _unwrapped(loaded)
    if not isinstance(state, Mapping) or not state or not all(map(_is_named_tensor, state.items())):
        raise UserError(f"weights {path}: expected named tensors, bare or under {', '.join(WRAPPERS)}")
    _refuse_repeated(path, state)
    return {
        name: value.float() if value.is_floating_point() else value for name, value in _without_prefixes(state).items()
    }


def _is_named_tensor(item: tuple) -> bool:
    """Whether it has a name and, in the file's own memory, dense numbers."""
    name, value = item
    plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    return isinstance(name, str) and plain and not value.is_quantized


def _refuse_repeated(path: Path, state: Mapping[str, Tensor]) -> None:
    """Raise UserError for tensors that are many times as large as the file: views that repeat a few numbers."""
    stand_for, there = sum(value.nbytes for value in state.values()), path.stat().st_size
    if stand_for > SPARE + 2 * there:
        raise UserError(
            f"weights {path}: its tensors stand for {stand_for} bytes, the file has {there}: save contiguous tensors"
        )


def _refuse_packed(path: Path) -> None:
    """Raise UserError for a torch file whose parts are compressed, or overlap: torch writes none."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            unpacked = sum(part.file_size for part in file.infolist())
        if unpacked > SPARE + path.stat().st_size:
            raise UserError(f"is compressed, {unpacked} bytes in {path.stat().st_size}: save it by torch.save")


def load_into(net: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Give a net its weights; every name and shape must agree, only batch norms' counters may be absent.

    Args:
        path: where the weights are from, for the message.

    Raises:
        UserError: if they are another net's, with how many names differ and the first of them.
    """
    refuse_others(net, state, path)
    net.load_state_dict(state, strict=False)


def refuse_others(net: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Hold weights against the names and shapes of a net, which may be on the meta device.

    Raises:
        UserError: see `load_into`.
    """
    own = net.state_dict()
    missing = [name for name in own if name not in state and not name.endswith(COUNTER)]
    unexpected = [name for name in state if name not in own]
    misshapen = [name for name in own if name in state and own[name].shape != state[name].shape]
    for name in own:
        if name in state and own[name].is_floating_point() and not state[name].is_floating_point():
            raise UserError(
                f"weights {path}: {name} holds {str(state[name].dtype).removeprefix('torch.')} where floats are "
                "wanted: a quantised file: choose the weights that it was made of"
            )
    problems = []
    if missing:
        problems.append(f"{len(missing)} missing (first {missing[0]})")
    if unexpected:
        problems.append(f"{len(unexpected)} unexpected (first {unexpected[0]})")
    if misshapen:
        want, got = tuple(own[misshapen[0]].shape), tuple(state[misshapen[0]].shape)
        problems.append(f"{len(misshapen)} of another shape (first {misshapen[0]}: expected {want}, got {got})")
    if problems:
        raise UserError(
            f"weights {path}: not of this {type(net).__name__}: {', '.join(problems)}: "
            "build the net with the joints and sizes these weights were trained with, or choose other weights"
        )


def save_weights(
    path: str | Path, net: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, str], half: bool = False
) -> None:
    """Write weights as safetensors, whole or not at all; equal weights and metadata make equal bytes.

    Args:
        half: store floats as float16, at a relative error below 1/2048, except batch norms' statistics.

    Raises:
        UserError: if a weight is too large for float16, or the file cannot be written.
    """
    path = Path(path)
    state = net.state_dict() if isinstance(net, nn.Module) else net
    tensors = {name: _stored(name, value, half) for name, value in state.items()}
    header = {METADATA_KEY: json.dumps(dict(metadata), sort_keys=True)}
    try:
        write_file(path, save(tensors, header))
    except OSError as error:
        raise UserError(f"weights {path}: cannot be written ({error.strerror}): free some of the disk") from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """What was written beside the weights; nothing if the file is no safetensors file.

    Raises:
        UserError: if a .safetensors file is missing or torn.
    """
    if not is_safetensors(path):
        return {}
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        notes = json.loads(metadata[METADATA_KEY]) if METADATA_KEY in metadata else metadata
    except Exception as error:
        raise UserError(f"weights {path}: {_reason(Path(path), error)}") from error
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise UserError(f"weights {path}: its metadata {METADATA_KEY!r} should be texts by name: save it anew")
    return notes


def is_safetensors(path: str | Path) -> bool:
    """Whether it is called so, in letters of any case."""
    return Path(path).suffix.lower() == SAFETENSORS


def sha256(path: str | Path) -> str:
    """The file's checksum, 64 hexadecimal digits.

    Raises:
        UserError: if it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise UserError(f"weights {path}: cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()


def _unwrapped(loaded):
    for _ in range(DEPTH):
        inner = [
            loaded[key] for key in WRAPPERS if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping)
        ]
        if not inner:
            break
        loaded = inner[0]
    return loaded


def _without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((each for each in PREFIXES if all(name.startswith(each) for name in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return dict(state)


def _stored(name: str, value: Tensor, half: bool) -> Tensor:
    """A copy of its own, in the one memory layout that the file knows."""
    value = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if not half or not value.is_floating_point() or name.endswith(STATISTICS):
        return value
    if (value.abs() > torch.finfo(torch.float16).max).any():
        raise UserError(f"weight {name}: {value.abs().max():g} is too large for float16: save without half")
    return value.half()


def _reason(path: Path, error: Exception) -> str:
    """Why weights cannot be read, in a line of ours: torch's own advises to load them unsafely."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    if what := mistaken(path, SAFETENSORS if is_safetensors(path) else TORCH):
        return what
    foreign = _GLOBAL.search(str(error))
    if foreign and foreign[1].startswith("torch.nn."):
        return f"is a whole pickled network ({foreign[1]}): {ALONE}"
    if foreign:
        name = foreign[1]
        what = f"a numpy {'scalar' if name.endswith('scalar') else 'array'}" if name.startswith("numpy") else name
        return f"holds more than tensors ({what}): {ALONE}"
    if "TorchScript" in str(error):
        return f"is a TorchScript program: {ALONE}"
    first = (str(error) or type(error).__name__).splitlines()[0]
    return f"cannot be read ({'torn, or no file of torch.save' if 'weights_only' in first else first})"
