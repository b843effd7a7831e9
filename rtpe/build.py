"""The one switchboard from names in settings to objects."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rtpe.cache import Cache
from rtpe.config import CropSettings, DataSettings, DecodeSettings, NetSettings, TeacherSettings
from rtpe.crops import of_net, of_network, refuse
from rtpe.data.coco import CocoDataset, annotation_file
from rtpe.data.folder import FolderDataset
from rtpe.data.mpii import MpiiDataset, mpii_file
from rtpe.data.person_crops import PersonCrops
from rtpe.decode.centres import CentreSettings, from_centres
from rtpe.decode.grouping import GroupingSettings, group
from rtpe.decode.published import PublishedSettings, parse
from rtpe.nets.higher_hrnet import HigherHRNet
from rtpe.nets.hrnet import HRNet, PoseHRNet, trunk_numbers
from rtpe.nets.simple_baseline import SimpleBaseline
from rtpe.nets.student import Student
from rtpe.nets.weights import load_into, load_weights, read_metadata, save_weights, sha256
from rtpe.predictors import Predictor
from rtpe.predictors.as_skeleton import AsSkeleton
from rtpe.predictors.dense import DensePredictor
from rtpe.predictors.description import read_description
from rtpe.predictors.diffusion import readout, require_time
from rtpe.skeleton import COCO17, MPII16, OPENPOSE18, SKELETONS, Skeleton, skeleton
from rtpe.structures import PoseMaps, Poses

Images = CocoDataset | FolderDataset | PersonCrops
NETS = {
    "student": Student,
    "higher_hrnet": HigherHRNet,
    "pose_hrnet": PoseHRNet,
    "simple_baseline": SimpleBaseline,
    "readout": readout,
}
# a tensor that published weights of that net have, and those of the nets below lack; all others are a HigherHRNet's
SIGNS = {"readout": "mixing_weights", "simple_baseline": "layer4.0.conv1.weight", "pose_hrnet": "final_layer.weight"}
TOP_DOWN = ("simple_baseline", "pose_hrnet")
GROUPINGS = {
    "tags": (group, GroupingSettings),
    "centres": (from_centres, CentreSettings),
    "published": (parse, PublishedSettings),
}
READ = {"published": "tags"}  # what a grouping reads, where it is not called after that
NETWORK_FILES = (".onnx", ".xml")


def device(name: str, process: int = 0) -> str:
    """The device of that name; `auto` is a GPU if there is one, of several the one of that process's number."""
    if name != "auto":
        return name
    return f"cuda:{process % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"


def dataset(settings: DataSettings) -> Images:
    """The images that the settings name: labelled ones if the file of their labels is there, else all that are."""
    joints = skeleton(settings.skeleton)
    if annotation_file(settings.root, settings.split).exists():
        whole = CocoDataset(settings.root, settings.split, joints)
    elif mpii_file(settings.root, settings.split).exists():
        if joints not in (COCO17, MPII16):  # the first is what the settings say if nobody says anything
            raise ValueError(
                f"data {settings.root}: MPII's people have mpii16: leave out --data.skeleton {joints.name}"
            )
        whole = MpiiDataset(settings.root, settings.split)
    else:
        whole = FolderDataset(settings.root, settings.split, joints, settings.every)
    if settings.crops:
        if whole.annotations is None:
            raise ValueError(f"data {settings.root}: nobody labelled the people to crop: leave out --data.crops")
        whole = PersonCrops(whole, settings.crops)
    return whole.only(whole.ids[: settings.limit]) if settings.limit else whole


def decoder(settings: DecodeSettings, of: nn.Module | None = None) -> Callable[[PoseMaps], Poses]:
    """From the maps of an image to its people.

    Args:
        of: the net that is to give the maps.

    Raises:
        ValueError: for an unknown grouping, one that the net has no maps for, or a setting that makes no sense.
    """
    if settings.grouping not in GROUPINGS:
        raise ValueError(f"unknown grouping {settings.grouping!r}: choose from {', '.join(GROUPINGS)}")
    given = [] if of is None else groupings(of)
    if given and settings.grouping not in given:
        raise ValueError(
            f"the net has no {READ.get(settings.grouping, settings.grouping)}: pass --decode.grouping {given[0]}"
        )
    read, own = GROUPINGS[settings.grouping]
    names = {each.name for each in fields(own)}
    return partial(read, settings=own(**{name: each for name, each in asdict(settings).items() if name in names}))


def groupings(of: nn.Module) -> list[str]:
    """What a net tells people apart by, if anything: tags unless it says otherwise, centres if it says so."""
    numbers = getattr(of, "numbers", {})
    has = {"tags": numbers.get("tags", True), "centres": numbers.get("centres", False)}
    return [name for name in GROUPINGS if has[READ.get(name, name)]]


def _reading(settings: DecodeSettings) -> dict[str, Any]:
    """What a predictor says of how it reads people; tags go unsaid, as before there was a choice: old caches go on."""
    said = asdict(settings)
    return said if said["grouping"] != "tags" else {name: each for name, each in said.items() if name != "grouping"}


def net(kind: str, numbers: dict[str, Any], joints: int) -> nn.Module:
    """A net by name, with random weights.

    Raises:
        ValueError: for an unknown name or argument.
    """
    if kind not in NETS:
        raise ValueError(f"unknown net {kind!r}: choose from {', '.join(NETS)}")
    try:
        return NETS[kind](**{**numbers, "joints": joints})
    except TypeError as error:
        raise ValueError(f"net {kind}: {str(error).split('__init__() ')[-1]}: see --net.numbers") from error


def trainable_net(settings: NetSettings, joints: int) -> nn.Module:
    """The net to train, with the weights it starts from, and frozen what is not to learn."""
    trunk, weights = _trunk(settings)
    numbers = {**_started_numbers(settings), **settings.numbers, **({"trunk": trunk} if trunk else {})}
    if settings.imitate:
        numbers["stem"] = _imitating(numbers, imitated_stem(settings.imitate).channels)
    made = net(settings.kind, numbers, joints)
    if trunk:
        load_into(made.stem.trunk, weights, settings.stem)
    if settings.learn:
        _freeze_others(made, settings.learn)
    if settings.init:
        _start(made, settings)
    return made


def imitated_stem(path: str) -> nn.Module:
    """The stem of a student, to learn from: (B, 3, H, W) normalised images -> (B, channels, H/4, W/4)."""
    said = read_metadata(path)
    if said.get("kind") != "student":
        raise ValueError(
            f"weights {path}: expected a student's, whose stem can be imitated: choose other --net.imitate"
        )
    numbers = json.loads(said["numbers"])
    whole = net("student", numbers, numbers["joints"])
    load_into(whole, load_weights(path), path)
    return whole.stem.eval().requires_grad_(False)


def _imitating(numbers: dict[str, Any], channels: int) -> dict[str, Any]:
    """The numbers of a stem that gives as many features."""
    if numbers.get("trunk"):
        raise ValueError(
            "net.imitate: this student stands on a frozen stem: leave out --net.stem, or give it a stem of its own by "
            "--net.numbers '{trunk: null}'"
        )
    return {**(numbers.get("stem") or {}), "outputs": channels}


def _started_numbers(settings: NetSettings) -> dict[str, Any]:
    """The numbers of the net whose weights are the start, if it is of this kind and says them."""
    said = read_metadata(settings.init) if settings.init else {}
    return json.loads(said.get("numbers", "{}")) if said.get("kind") == settings.kind else {}


def _freeze_others(made: nn.Module, parts: list[str]) -> None:
    try:
        made.learn_only(parts)
    except ValueError as error:
        raise ValueError(f"net.learn: {error}") from error


def _start(made: nn.Module, settings: NetSettings) -> None:
    """Take from other weights what fits; of what is not to learn, all.

    Raises:
        ValueError: if nothing fits, or something is lacking that would stay random.
    """
    own = made.state_dict()
    start = load_weights(settings.init)
    fitting = {name: value for name, value in start.items() if name in own and value.shape == own[name].shape}
    if not fitting:
        raise ValueError(f"weights {settings.init}: not one tensor fits this {settings.kind}: choose other --net.init")
    given = (*fitting, *(name for name in own if settings.stem and name.startswith("stem.")))
    lacking = [name for name, p in made.named_parameters() if not p.requires_grad and name not in given]
    if lacking:
        raise ValueError(f"weights {settings.init}: lack {lacking[0]}, which --net.learn freezes: let it learn too")
    made.load_state_dict({**own, **fitting})


def _trunk(settings: NetSettings) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The numbers of another net's beginning that the student stands on, and its weights; nothing if on none."""
    if not settings.stem:
        return {}, {}
    if Path(settings.stem).suffix in NETWORK_FILES:
        return _file_trunk(settings)
    weights = load_weights(settings.stem)
    try:
        numbers = trunk_numbers(weights, settings.stem_stages)
    except ValueError as error:
        raise ValueError(f"weights {settings.stem}: {error}: choose other --net.stem or --net.stem_stages") from error
    own = HRNet(**numbers).state_dict()
    return numbers, {name: value for name, value in weights.items() if name in own}


def _file_trunk(settings: NetSettings) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from rtpe.predictors.onnx_graph import read_graph  # needs an extra: only who asks for it must have it

    if Path(settings.stem).suffix != ".onnx":
        raise ValueError(f"weights {settings.stem}: a stem comes from an .onnx file or a HigherHRNet's weights")
    if not settings.stem_network:
        raise ValueError(f"weights {settings.stem}: pass --net.stem_network FILE.yaml, which describes the network")
    return read_graph(settings.stem, settings.stem_tensor, read_description(settings.stem_network))


def save_net(path: Path, trained: nn.Module, kind: str, joints: Skeleton, size: int, made: dict, half=False) -> None:
    """Write weights that say themselves what they are: net, skeleton, input size, and how they were made."""
    metadata = {
        "kind": kind,
        "numbers": json.dumps(trained.numbers),
        "skeleton": joints.name,
        "size": str(size),
        "fit": "letterbox",
        "made": json.dumps(made),
    }
    save_weights(path, trained, metadata, half)


def predictor(
    settings: TeacherSettings, decode: DecodeSettings, joints: Skeleton, where: str, images: Images | None = None
) -> Predictor:
    """The teacher, or student, that the settings name.

    Args:
        images: those that it is to see; a top-down one asks for the boxes of their people.

    Raises:
        ValueError: if the weights are missing, or not of such a net or skeleton, or there are no boxes.
    """
    if not settings.weights:
        raise ValueError("no weights: pass --teacher.weights FILE, or --cache.path to score what a teacher said")
    path = Path(settings.weights)
    if not path.is_file():
        raise ValueError(f"weights {path}: no such file: pass --teacher.weights FILE")
    if path.suffix in NETWORK_FILES:
        return _onnx_predictor(settings, decode, joints, images)
    return _net_predictor(settings, decode, joints, where, images)


def _onnx_predictor(
    settings: TeacherSettings, decode: DecodeSettings, joints: Skeleton, images: Images | None
) -> Predictor:
    from rtpe.predictors.from_onnx import from_onnx  # needs an extra: only who asks for it must have it

    if not settings.network:
        raise ValueError(f"weights {settings.weights}: pass --teacher.network FILE.yaml, which describes the network")
    top_down = bool(settings.boxes) or read_description(settings.network).top_down
    unused = ("kind", "numbers", "fit", "scales", "project", "precision", "color")
    refuse(settings, (*unused, *(("size",) if top_down else ("flip", "crop"))), "a network in a file")
    threads = int(os.environ.get("OMP_NUM_THREADS", 0)) or None
    if top_down:
        made = of_network(settings, decode, images, threads)
    else:
        made = from_onnx(settings.weights, settings.network, settings.size or None, threads, settings.batch)
    if made.skeleton != joints:
        raise ValueError(f"network {settings.network}: predicts {made.skeleton.name}, the data have {joints.name}")
    return made


def _net_predictor(
    settings: TeacherSettings, decode: DecodeSettings, joints: Skeleton, where: str, images: Images | None
) -> Predictor:
    said, state = read_metadata(settings.weights), load_weights(settings.weights)
    kind = said.get("kind", _kind_of(state)) if settings.kind == "auto" else settings.kind
    numbers = json.loads(said.get("numbers", "{}"))
    if kind == "readout":
        require_time(settings.weights, numbers, settings.numbers)
    own = _own_skeleton(settings.weights, said, kind, joints)
    made = net(kind, {**numbers, **settings.numbers}, len(own))
    load_into(made, state, settings.weights)
    if settings.boxes or (kind in TOP_DOWN and not said):  # what `rtpe train` wrote saw whole images, and says so
        color = settings.color or ("bgr" if kind == "simple_baseline" and not said else "rgb")
        told = replace(settings, color=color, crop=_crop(settings.crop, made, said))
        speaks = of_net(made, told, decode, own, where, images, _name(Path(settings.weights)))
    else:
        refuse(settings, ("crop", "color"), f"this {kind}, which sees whole images,")
        speaks = _on_whole_images(made, settings, decode, own, where, {**getattr(made, "input", {}), **said})
    return speaks if own == joints else AsSkeleton(speaks, joints)


def _crop(asked: CropSettings, made: nn.Module, said: dict[str, str]) -> CropSettings:
    """The size of a crop, where nobody names one, is that of the input of a net that knows it."""
    size = {**getattr(made, "input", {}), **said}.get("size")
    return replace(asked, size=[int(size)] * 2) if hasattr(made, "input") and not asked.size else asked


def _on_whole_images(
    made: nn.Module, settings: TeacherSettings, decode: DecodeSettings, own: Skeleton, where: str, said: dict
) -> DensePredictor:
    return DensePredictor(
        made,
        own,
        decoder(decode, made),
        name=_name(Path(settings.weights)),
        weights_sha256=sha256(settings.weights),
        size=settings.size or int(said.get("size", 512)),
        fit=settings.fit or said.get("fit", "short_side"),
        flip=settings.flip,
        scales=tuple(settings.scales),
        project=settings.project,
        device=where,
        batch=settings.batch,
        precision=settings.precision,
        reading=_reading(decode),
    )


def _own_skeleton(weights: str, said: dict[str, str], kind: str, joints: Skeleton) -> Skeleton:
    """The skeleton that weights were trained for: the one that is asked for, or one that has all of its joints."""
    name = said.get("skeleton", OPENPOSE18.name if kind == "readout" else joints.name)
    own = joints if name == joints.name else SKELETONS.get(name)
    if own is None or not set(joints.joints) <= set(own.joints):
        raise ValueError(f"weights {weights}: predict {name}, the data have {joints.name}: pass --data.skeleton")
    return own


def _kind_of(state: dict[str, Tensor]) -> str:
    """Which net's weights these are that do not say it."""
    return next((kind for kind, sign in SIGNS.items() if sign in state), "higher_hrnet")


def _name(weights: Path) -> str:
    """How tables call a net: after its file, or after its run, whose best weights all have one name."""
    return weights.resolve().parent.name if weights.stem == "best" else weights.name.split(".")[0]


def cache(path: str, of: Images) -> Cache:
    """An existing cache of these images.

    Raises:
        ValueError: if it is of another skeleton or split, whose images may be numbered alike.
    """
    opened = Cache.open(path)
    opened.require(skeleton=of.skeleton)
    source = opened.manifest.source
    if source and source.rpartition("/")[2] != of.split:
        raise ValueError(
            f"cache {path}: was made of {source}, not of {of.root.name}/{of.split}: pass another --cache.path or "
            "--data.split"
        )
    return opened
