"""From settings to nets, their weights, and the files of these."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor, nn

from rtpe.config import NetSettings
from rtpe.errors import UserError
from rtpe.limits import MAPPING, refuse_unknown, whole
from rtpe.nets.higher_hrnet import HigherHRNet
from rtpe.nets.hrnet import HRNet, PoseHRNet, trunk_numbers
from rtpe.nets.rep_student import RepStudent
from rtpe.nets.simple_baseline import SimpleBaseline
from rtpe.nets.student import Student
from rtpe.nets.weights import load_into, load_weights, read_metadata, refuse_others, save_weights
from rtpe.predictors.description import read_description
from rtpe.predictors.diffusion import readout
from rtpe.skeleton import Skeleton

NETS = {
    "student": Student,
    "rep_student": RepStudent,
    "higher_hrnet": HigherHRNet,
    "pose_hrnet": PoseHRNet,
    "simple_baseline": SimpleBaseline,
    "readout": readout,
}
JOINTS = "joints"
MOST_FITS = 0.5  # of a net's numbers: less from its `init` is worth a word
WHOLE = whole(1, 4096)
NETWORK_FILES = (".onnx", ".xml")


def net(kind: str, numbers: Mapping[str, Any], joints: int, setting: str = "net.numbers") -> nn.Module:
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


COUNTS = (
    "stages",
    "blocks",
    "convs",
    "modules",
    "bottlenecks",
    "deconvs",
    "head_blocks",
)  # of layers: each has a tensor


def refuse_false(
    kind: str, numbers: Mapping[str, Any], joints: int, state: Mapping[str, Tensor], weights: str, setting: str
) -> None:
    """Look, before memory is taken, whether weights are of the net that their metadata describe.

    Raises:
        UserError: if they are not, or there is no such net.
    """
    _refuse_more_layers(numbers, state, weights)
    try:
        with torch.device("meta"):  # shapes alone
            sketch = net(kind, numbers, joints, setting)
    except UserError:
        raise
    except Exception as error:  # arguments from a file may be anything, deep within
        reason = str(error) or type(error).__name__
        raise UserError(f"weights {weights}: describe no {kind} that can be made ({reason})") from error
    refuse_others(sketch, state, weights)


def _refuse_more_layers(numbers: Mapping[str, Any], state: Mapping[str, Tensor], weights: str) -> None:
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


def noted(weights: str, said: Mapping[str, str], key: str, usual: Any) -> Any:
    """A value that the metadata of weights have as JSON, of the type of the usual one.

    Raises:
        UserError: if it is none.
    """
    try:
        value = json.loads(said[key]) if key in said else usual
    except (ValueError, RecursionError) as error:
        raise UserError(f"weights {weights}: its metadata {key!r} are no JSON: save it anew") from error
    if type(value) is not type(usual):
        raise UserError(f"weights {weights}: its metadata {key!r} should be like {json.dumps(usual)}: save it anew")
    return value


def noted_numbers(weights: str, said: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a net that its weights' metadata have.

    Args:
        given: by the user; a backbone that is on no local disk is taken from there alone: no file opens a connection.

    Raises:
        UserError: if they are none, or name such a backbone.
    """
    numbers = noted(weights, said, "numbers", {})
    backbone = numbers.get("backbone", "")
    if (
        "backbone" in numbers
        and "backbone" not in given
        and not (isinstance(backbone, str) and Path(backbone).is_dir())
    ):
        raise UserError(
            f"weights {weights}: stand on the backbone {shorten(str(backbone), 80)}, which is no folder here: name it "
            "yourself by numbers {backbone: FOLDER}, or OWNER/NAME to fetch it"
        )
    return numbers


def noted_least(weights: str, said: Mapping[str, str]) -> float | None:
    """The score below which people are doubtful, of weights whose metadata have one."""
    return noted(weights, said, "least", 0.0) if "least" in said else None


def usual_numbers(kind: str) -> dict[str, Any]:
    """The arguments of a net that a setting may give, and their defaults."""
    parameters = inspect.signature(NETS[kind]).parameters
    return {name: each.default for name, each in parameters.items() if name != JOINTS}


def refuse_joints(numbers: Mapping[str, Any], setting: str) -> None:
    """Raise UserError if settings give the number of joints, which follows the skeleton."""
    if JOINTS in numbers:
        raise UserError(f"{setting}.{JOINTS}: follows the skeleton: leave it out, or pass --data.skeleton")


def refuse_numbers(settings: NetSettings) -> None:
    """Look, before data are read, whether there is such a net to train; what looks through another net is not made.

    Raises:
        UserError: as `trainable_net` would for its kind and numbers.
    """
    refuse_joints(settings.numbers, "net.numbers")
    refuse_unknown(settings.numbers, usual_numbers(settings.kind), "net.numbers")
    if settings.kind != "readout":
        with torch.device("meta"):  # shapes alone
            net(settings.kind, {**_started_numbers(settings), **settings.numbers}, joints=1)


def numbers_of(settings: NetSettings) -> dict[str, Any]:
    """What the arguments of the net to train are where its settings give none: those of `init`, and the usual ones."""
    return {**usual_numbers(settings.kind), **_started_numbers(settings)}


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


def trainable_net(settings: NetSettings, joints: int) -> nn.Module:
    """The net to train, with the weights it starts from, and frozen what is not to learn."""
    for name in ("stem", "imitate"):
        if getattr(settings, name) and settings.kind != "student":
            raise UserError(f"net.{name}: only a student has such a stem, not a {settings.kind}: leave it out")
    trunk, weights = _trunk(settings)
    numbers = {**_started_numbers(settings), **settings.numbers, **({"trunk": trunk} if trunk else {})}
    if settings.imitate:
        numbers["stem"] = _imitating(numbers, imitated_stem(settings.imitate).channels)
    check_style(settings.init, settings.kind, numbers, "net")
    made = net(settings.kind, numbers, joints)
    if trunk:
        load_into(made.stem.trunk, weights, settings.stem)
    if settings.learn:
        _freeze_others(made, settings.learn)
    if settings.init:
        _start(made, settings)
    return made


def imitated_stem(path: str) -> nn.Module:
    """What a student stands on, to learn from: (B, 3, H, W) normalised images -> (B, channels, H/stride, W/stride)."""
    said = read_metadata(path)
    if said.get("kind") != "student":
        raise UserError(f"weights {path}: expected a student's, whose stem can be imitated: choose other --net.imitate")
    numbers, state = noted(path, said, "numbers", {}), load_weights(path)
    joints = numbers.get(JOINTS)
    if not WHOLE.holds(joints):
        raise UserError(f"weights {path}: its metadata 'numbers' lack {JOINTS}: choose other --net.imitate")
    refuse_false("student", numbers, joints, state, path, "numbers")
    made = net("student", numbers, joints)
    load_into(made, state, path)
    imitated = nn.Sequential(made.stem, made.level or nn.Identity())
    imitated.channels = made.stem.channels
    return imitated.eval().requires_grad_(False)


def _imitating(numbers: dict[str, Any], channels: int) -> dict[str, Any]:
    """The numbers of a stem that gives as many features."""
    if numbers.get("trunk"):
        raise UserError(
            "net.imitate: this student stands on a frozen stem: leave out --net.stem, or give it a stem of its own by "
            "--net.numbers '{trunk: null}'"
        )
    own = numbers.get("stem") or {}
    if not isinstance(own, Mapping):
        raise UserError(MAPPING.refusal("net.numbers.stem", own))
    return {**own, "outputs": channels}


def _started_numbers(settings: NetSettings) -> dict[str, Any]:
    """The numbers of the net whose weights are the start, if it is of this kind and says them."""
    said = read_metadata(settings.init) if settings.init else {}
    if said.get("kind") != settings.kind:
        return {}
    numbers = noted_numbers(settings.init, said, settings.numbers)
    state = load_weights(settings.init)
    _refuse_more_layers(numbers, state, settings.init)
    if settings.kind != "readout" and WHOLE.holds(numbers.get(JOINTS)):
        refuse_false(settings.kind, numbers, numbers[JOINTS], state, settings.init, "numbers")
    return numbers


def _freeze_others(made: nn.Module, parts: list[str]) -> None:
    try:
        made.learn_only(parts)
    except ValueError as error:
        raise UserError(f"net.learn: {error}") from error


def _start(made: nn.Module, settings: NetSettings) -> None:
    """Take from other weights what fits; of what is not to learn, all.

    Raises:
        UserError: if nothing fits, or something is lacking that would stay random.
    """
    own = made.state_dict()
    start = load_weights(settings.init)
    fitting = {name: value for name, value in start.items() if name in own and value.shape == own[name].shape}
    if not fitting:
        raise UserError(f"weights {settings.init}: not one tensor fits this {settings.kind}: choose other --net.init")
    given = (*fitting, *(name for name in own if settings.stem and name.startswith("stem.")))
    lacking = [name for name, p in made.named_parameters() if not p.requires_grad and name not in given]
    if lacking:
        raise UserError(f"weights {settings.init}: lack {lacking[0]}, which --net.learn freezes: let it learn too")
    numbers, count = (sum(each.numel() for each in tensors.values()) for tensors in (fitting, own))
    if numbers < MOST_FITS * count:
        print(
            f"net.init {settings.init}: only {len(fitting)} of {len(own)} tensors fit this {settings.kind}, "
            f"{numbers / count:.1%} of its numbers: the others start at random",
            flush=True,
        )
    made.load_state_dict({**own, **fitting})


def _trunk(settings: NetSettings) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The numbers of another net's beginning that the student stands on, and its weights; nothing if on none."""
    if not settings.stem:
        return {}, {}
    if Path(settings.stem).suffix.lower() in NETWORK_FILES:
        return _file_trunk(settings)
    weights = load_weights(settings.stem)
    try:
        numbers = trunk_numbers(weights, settings.stem_stages)
    except ValueError as error:
        raise UserError(f"weights {settings.stem}: {error}: choose other --net.stem or --net.stem_stages") from error
    own = HRNet(**numbers).state_dict()
    return numbers, {name: value for name, value in weights.items() if name in own}


def _file_trunk(settings: NetSettings) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from rtpe.predictors.onnx_graph import read_graph  # needs an extra: only who asks for it must have it

    if Path(settings.stem).suffix.lower() != ".onnx":
        raise UserError(f"weights {settings.stem}: a stem comes from an .onnx file or a HigherHRNet's weights")
    if not settings.stem_network:
        raise UserError(f"weights {settings.stem}: pass --net.stem_network FILE.yaml, which describes the network")
    return read_graph(settings.stem, settings.stem_tensor, read_description(settings.stem_network))


def save_net(
    path: Path,
    trained: nn.Module,
    kind: str,
    joints: Skeleton,
    size: int,
    made: dict,
    half: bool = False,
    least: float | None = None,
) -> None:
    """Write weights that say themselves what they are: net, skeleton, input size, and how they were made.

    Args:
        least: people of a lower score are doubtful; None if nobody has measured it.
    """
    metadata = {
        "kind": kind,
        "numbers": json.dumps(trained.numbers),
        "skeleton": joints.name,
        "joints": json.dumps(joints.joints),
        "size": str(size),
        "fit": "letterbox",
        "made": json.dumps(made),
    }
    if least is not None:
        metadata["least"] = json.dumps(least)
    save_weights(path, trained, metadata, half)
