"""The net to train: what it starts from, what it stands on, and what of it learns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rtpe.errors import UserError
from rtpe.nets.create import (
    JOINTS,
    WHOLE,
    check_style,
    create_net,
    refuse_false,
    refuse_joints,
    refuse_more_layers,
    usual_numbers,
)
from rtpe.nets.hrnet import HRNet, trunk_numbers
from rtpe.nets.metadata import metadata_value, numbers_in
from rtpe.nets.weights import load_into, load_weights, read_metadata
from rtpe.predictors.adapters.description import NETWORK_FILES, read_description
from rtpe.settings.limits import MAPPING, refuse_unknown
from rtpe.training.settings import NetSettings

MOST_FITS = 0.5  # of a net's numbers: less from its `init` is worth a word


def refuse_numbers(settings: NetSettings) -> None:
    """Look, before data are read, whether there is such a net to train; what looks through another net is not made.

    Raises:
        UserError: as `trainable_net` would for its kind and numbers.
    """
    refuse_joints(settings.numbers, "net.numbers")
    refuse_unknown(settings.numbers, usual_numbers(settings.kind), "net.numbers")
    if settings.kind != "readout":
        with torch.device("meta"):  # shapes alone
            create_net(settings.kind, {**_started_numbers(settings), **settings.numbers}, joints=1)


def numbers_of(settings: NetSettings) -> dict[str, Any]:
    """What the arguments of the net to train are where its settings give none: those of `init`, and the usual ones."""
    return {**usual_numbers(settings.kind), **_started_numbers(settings)}


def trainable_net(settings: NetSettings, joints: int) -> nn.Module:
    """The net to train, with the weights it starts from, and frozen what is not to learn."""
    for name in ("stem", "distill_stem_from"):
        if getattr(settings, name) and settings.kind != "student":
            raise UserError(f"net.{name}: only a student has such a stem, not a {settings.kind}: leave it out")
    trunk, weights = _trunk(settings)
    numbers = {**_started_numbers(settings), **settings.numbers, **({"trunk": trunk} if trunk else {})}
    if settings.distill_stem_from:
        numbers["stem"] = _imitating(numbers, imitated_stem(settings.distill_stem_from).channels)
    check_style(settings.init, settings.kind, numbers, "net")
    made = create_net(settings.kind, numbers, joints)
    if trunk:
        load_into(made.stem.trunk, weights, settings.stem)
    if settings.trainable:
        _freeze_others(made, settings.trainable)
    if settings.init:
        _start(made, settings)
    return made


def imitated_stem(path: str) -> nn.Module:
    """What a student stands on, to learn from: (B, 3, H, W) normalised images -> (B, channels, H/stride, W/stride)."""
    said = read_metadata(path)
    if said.get("kind") != "student":
        raise UserError(
            f"weights {path}: expected a student's, whose stem can be imitated: choose other --net.distill_stem_from"
        )
    numbers, state = metadata_value(path, said, "numbers", {}), load_weights(path)
    joints = numbers.get(JOINTS)
    if not WHOLE.holds(joints):
        raise UserError(f"weights {path}: its metadata 'numbers' lack {JOINTS}: choose other --net.distill_stem_from")
    refuse_false("student", numbers, joints, state, path, "numbers")
    made = create_net("student", numbers, joints)
    load_into(made, state, path)
    imitated = nn.Sequential(made.stem, made.level or nn.Identity())
    imitated.channels = made.stem.channels
    return imitated.eval().requires_grad_(False)


def _imitating(numbers: dict[str, Any], channels: int) -> dict[str, Any]:
    """The numbers of a stem that gives as many features."""
    if numbers.get("trunk"):
        raise UserError(
            "net.distill_stem_from: this student stands on a frozen stem: leave out --net.stem, or give it a stem of "
            "its own by --net.numbers '{trunk: null}'"
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
    numbers = numbers_in(settings.init, said, settings.numbers)
    state = load_weights(settings.init)
    refuse_more_layers(numbers, state, settings.init)
    if settings.kind != "readout" and WHOLE.holds(numbers.get(JOINTS)):
        refuse_false(settings.kind, numbers, numbers[JOINTS], state, settings.init, "numbers")
    return numbers


def _freeze_others(made: nn.Module, parts: list[str]) -> None:
    try:
        made.learn_only(parts)
    except ValueError as error:
        raise UserError(f"net.trainable: {error}") from error


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
        raise UserError(f"weights {settings.init}: lack {lacking[0]}, which --net.trainable freezes: let it learn too")
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
    from rtpe.predictors.adapters.onnx_graph import read_graph  # needs an extra: only who asks for it must have it

    if Path(settings.stem).suffix.lower() != ".onnx":
        raise UserError(f"weights {settings.stem}: a stem comes from an .onnx file or a HigherHRNet's weights")
    if not settings.stem_network:
        raise UserError(f"weights {settings.stem}: pass --net.stem_network FILE.yaml, which describes the network")
    return read_graph(settings.stem, settings.stem_tensor, read_description(settings.stem_network))
