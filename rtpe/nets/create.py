"""Nets by name: the table of kinds, and whether weights are of the net that they describe."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rtpe.errors import UserError
from rtpe.nets.diffusion import readout
from rtpe.nets.higher_hrnet import HigherHRNet
from rtpe.nets.hrnet import PoseHRNet
from rtpe.nets.rep_student import RepStudent
from rtpe.nets.simple_baseline import SimpleBaseline
from rtpe.nets.student import Student
from rtpe.nets.weights import refuse_others
from rtpe.settings.limits import refuse_unknown, whole

NETS = {
    "student": Student,
    "rep_student": RepStudent,
    "higher_hrnet": HigherHRNet,
    "pose_hrnet": PoseHRNet,
    "simple_baseline": SimpleBaseline,
    "readout": readout,
}
JOINTS = "joints"
WHOLE = whole(1, 4096)
COUNTS = (
    "stages",
    "blocks",
    "convs",
    "modules",
    "bottlenecks",
    "deconvs",
    "head_blocks",
)  # of layers: each has a tensor


def create_net(kind: str, numbers: Mapping[str, Any], joints: int, setting: str = "net.numbers") -> nn.Module:
    """A net by name, with random weights.

    Args:
        setting: that gives the numbers, as messages call it.

    Raises:
        UserError: for an unknown name, or an argument that is unknown or none of such a net.
    """
    if kind not in NETS:
        raise UserError(f"unknown net {kind!r}: choose from {', '.join(NETS)}")
    refuse_unknown({name: each for name, each in numbers.items() if name != JOINTS}, usual_numbers(kind), setting)
    try:
        return NETS[kind](**{**numbers, JOINTS: joints})
    except UserError as error:  # a net names its arguments, and knows no settings
        raise UserError(f"{setting}.{error}") from error


def usual_numbers(kind: str) -> dict[str, Any]:
    """The arguments of a net that a setting may give, and their defaults."""
    parameters = inspect.signature(NETS[kind]).parameters
    return {name: each.default for name, each in parameters.items() if name != JOINTS}


def refuse_joints(numbers: Mapping[str, Any], setting: str) -> None:
    """Raise UserError if settings give the number of joints, which follows the skeleton."""
    if JOINTS in numbers:
        raise UserError(f"{setting}.{JOINTS}: follows the skeleton: leave it out, or pass --data.skeleton")


def refuse_false(
    kind: str, numbers: Mapping[str, Any], joints: int, state: Mapping[str, Tensor], weights: str, setting: str
) -> None:
    """Look, before memory is taken, whether weights are of the net that their metadata describe.

    Raises:
        UserError: if they are not, or there is no such net.
    """
    refuse_more_layers(numbers, state, weights)
    try:
        with torch.device("meta"):  # shapes alone
            sketch = create_net(kind, numbers, joints, setting)
    except UserError:
        raise
    except Exception as error:  # arguments from a file may be anything, deep within
        reason = str(error) or type(error).__name__
        raise UserError(f"weights {weights}: describe no {kind} that can be made ({reason})") from error
    refuse_others(sketch, state, weights)


def refuse_more_layers(numbers: Mapping[str, Any], state: Mapping[str, Tensor], weights: str) -> None:
    """Raise UserError if numbers ask for more layers than a file has tensors."""
    if any(count > len(state) for count in _counts(numbers)):
        raise UserError(f"weights {weights}: describe more layers than the file has tensors: choose other weights")


def _counts(numbers: Any, counted: bool = False) -> Iterator[int]:
    """The numbers of layers among a net's arguments, at any depth."""
    if isinstance(numbers, Mapping):
        for name, value in numbers.items():
            yield from _counts(value, name in COUNTS)
    elif isinstance(numbers, list):
        for value in numbers:
            yield from _counts(value, counted)
    elif counted and isinstance(numbers, int):
        yield numbers


def check_style(weights: str, kind: str, numbers: dict[str, Any], option: str) -> None:
    """Refuse a ResNet's weights that are called caffe, whose strides would silently stand in the wrong place.

    Raises:
        UserError: if the file's name has caffe in it, and the numbers have no style.
    """
    if kind == "simple_baseline" and "caffe" in Path(weights).name.lower() and "style" not in numbers:
        raise UserError(
            f"weights {weights}: called caffe, and no file tells whether the strides of its bottlenecks are as in Caffe"
            f': pass --{option}.numbers "{{style: caffe}}", or pytorch if they are not'
        )
