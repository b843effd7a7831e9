"""From settings to predictors: teachers, and students that speak for themselves."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rtpe.data.load import Images
from rtpe.decode.decoders import make_decoder, reading, with_grouping
from rtpe.decode.settings import DecodeSettings
from rtpe.device import choose_device
from rtpe.errors import UserError
from rtpe.nets.create import NETS, check_style, create_net, refuse_false, refuse_joints
from rtpe.nets.diffusion import require_time
from rtpe.nets.metadata import metadata_value, min_score_of, numbers_in
from rtpe.nets.repvgg import merged
from rtpe.nets.weights import load_into, load_weights, read_metadata, sha256
from rtpe.predictors.adapters.description import NETWORK_FILES, read_description
from rtpe.predictors.adapters.mmpose import read_model
from rtpe.predictors.adapters.mmpose_model import Model, PosePredictor, TagNet
from rtpe.predictors.as_skeleton import AsSkeleton
from rtpe.predictors.bottom_up import BottomUpPredictor
from rtpe.predictors.load_top_down import of_mmpose, of_net, of_network, of_vitpose, refuse
from rtpe.predictors.settings import CropSettings, LoadSettings, TeacherSettings
from rtpe.protocols import Predictor
from rtpe.settings.limits import SIDE
from rtpe.settings.parse import settings_of
from rtpe.skeleton import OPENPOSE18, SKELETONS, Skeleton
from rtpe.skeleton import skeleton as skeleton_of

# a tensor that published weights of that net have, and those of the nets below lack; all others are a HigherHRNet's
SIGNS = {"readout": "mixing_weights", "simple_baseline": "layer4.0.conv1.weight", "pose_hrnet": "final_layer.weight"}
MMPOSE_CONFIG = ".py"
TOP_DOWN = ("simple_baseline", "pose_hrnet")


def load(
    weights: str | Path,
    recipe: str = "",
    *,
    data: Images | None = None,
    skeleton: str = "coco17",
    device: str = "auto",
    **settings: Any,
) -> Predictor:
    """A teacher or student, of any weights that rtpe reads.

    Args:
        weights: what `rtpe train` writes, published weights, .onnx, .xml, a folder or a name on the hub.
        recipe: YAML file, or the name of one that comes with rtpe, with the settings `teacher` and `decode`.
        data: whose people's boxes a net is to be given that sees one person a crop, where it is not called with boxes.
        skeleton: the joints that are wanted of it.
        device: auto, cpu or cuda.
        settings: others by their dotted names, such as `**{"teacher.flip": True}`.

    Raises:
        UserError: if the weights are missing, or not of such a net or skeleton, or a setting is wrong.
    """
    chosen = settings_of(LoadSettings, recipe, **{"teacher.weights": str(weights), **settings})
    return load_predictor(chosen.teacher, chosen.decode, skeleton_of(skeleton), choose_device(device), data)


def load_predictor(
    settings: TeacherSettings, decode: DecodeSettings, joints: Skeleton, where: str, images: Images | None = None
) -> Predictor:
    """The teacher, or student, that the settings name.

    Args:
        images: those that it is to see; a top-down one asks for the boxes of their people.

    Raises:
        UserError: if the weights are missing, or not of such a net or skeleton, or there are no boxes.
    """
    if not settings.weights:
        raise UserError("no weights: pass --teacher.weights FILE, or --cache.path to score what a teacher said")
    path = Path(settings.weights)
    if settings.kind == "vitpose" or (settings.kind == "auto" and path.is_dir()):
        return of_vitpose(settings, decode, joints, where, images)
    if not path.is_file():
        raise UserError(f"weights {path}: no such file: pass --teacher.weights FILE, or name it in the recipe")
    if path.suffix.lower() in NETWORK_FILES:
        return _onnx_predictor(settings, decode, joints, images)
    if Path(settings.network).suffix.lower() == MMPOSE_CONFIG:
        return _mmpose_predictor(settings, decode, joints, where, images)
    return _net_predictor(settings, decode, joints, where, images)


def _onnx_predictor(
    settings: TeacherSettings, decode: DecodeSettings, joints: Skeleton, images: Images | None
) -> Predictor:
    from rtpe.predictors.adapters.onnx import from_onnx  # needs an extra: only who asks for it must have it

    if not settings.network:
        raise UserError(f"weights {settings.weights}: pass --teacher.network FILE.yaml, which describes the network")
    top_down = bool(settings.boxes) or read_description(settings.network).top_down
    unused = ("kind", "numbers", "resize", "scales", "project_to_image", "precision", "color")
    refuse(settings, (*unused, *(("size",) if top_down else ("flip", "crop"))), "a network in a file")
    threads = int(os.environ.get("OMP_NUM_THREADS", 0)) or None
    if top_down:
        made = of_network(settings, decode, images, threads)
    else:
        made = from_onnx(settings.weights, settings.network, settings.size or None, threads, settings.batch)
    if made.skeleton != joints:
        raise UserError(f"network {settings.network}: predicts {made.skeleton.name}, the data have {joints.name}")
    return made


def _mmpose_predictor(
    settings: TeacherSettings, decode: DecodeSettings, joints: Skeleton, where: str, images: Images | None
) -> Predictor:
    refuse(settings, ("kind", "numbers", "resize", "color"), "a model of mmpose")
    model = read_model(settings.network, settings.weights, joints)
    name = _name(Path(settings.weights))
    if model.top_down:
        return of_mmpose(model, settings, decode, where, images, name)
    refuse(settings, ("boxes", "crop"), "a model of mmpose that sees whole images")
    if model.kind == "poses":
        return _poses_of(model, settings, decode, where, name)
    size = settings.size or min(model.size_hw)
    return _on_whole_images(TagNet(model), replace(settings, size=size, resize=model.resize), decode, joints, where, {})


def _poses_of(model: Model, settings: TeacherSettings, decode: DecodeSettings, where: str, name: str) -> PosePredictor:
    unused = ("size", "flip", "scales", "project_to_image", "precision")
    refuse(settings, unused, "a model of mmpose that gives people alone")
    return PosePredictor(model, name, decode.threshold, decode.max_people, where, settings.batch)


def _net_predictor(
    settings: TeacherSettings, decode: DecodeSettings, joints: Skeleton, where: str, images: Images | None
) -> Predictor:
    said, state = read_metadata(settings.weights), load_weights(settings.weights)
    kind = said.get("kind", _kind_of(state)) if settings.kind == "auto" else settings.kind
    numbers = numbers_in(settings.weights, said, settings.numbers)
    if kind == "readout":
        require_time(settings.weights, numbers, settings.numbers)
    if not re.fullmatch(r"[1-9]\d{0,4}", said.get("size", "512"), re.ASCII):
        raise UserError(f"weights {settings.weights}: its metadata 'size' should be pixels: save it anew")
    own = _own_skeleton(settings.weights, said, kind, joints)
    check_style(settings.weights, kind, {**numbers, **settings.numbers}, "teacher")
    refuse_joints(settings.numbers, "teacher.numbers")
    if kind in NETS and kind != "readout":
        refuse_false(kind, {**numbers, **settings.numbers}, len(own), state, settings.weights, "teacher.numbers")
    made = create_net(kind, {**numbers, **settings.numbers}, len(own), "teacher.numbers")
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
) -> BottomUpPredictor:
    read, size = make_decoder(decode, made), settings.size or int(said.get("size", 512))
    if settings.size and not SIDE.holds(size):
        raise UserError(SIDE.refusal("teacher.size", size))
    try:
        return BottomUpPredictor(
            merged(made),
            own,
            read,
            name=_name(Path(settings.weights)),
            weights_sha256=sha256(settings.weights),
            size=size,
            resize=settings.resize or said.get("fit", "short_side"),
            flip=settings.flip,
            scales=tuple(settings.scales),
            project_to_image=settings.project_to_image,
            device=where,
            batch=settings.batch,
            precision=settings.precision,
            reading=reading(with_grouping(decode, made)),
            min_score=min_score_of(settings.weights, said),
        )
    except UserError as error:  # a predictor names its arguments, and knows no settings
        raise UserError(f"teacher.{error}") from error


def _own_skeleton(weights: str, said: dict[str, str], kind: str, joints: Skeleton) -> Skeleton:
    """The skeleton that weights were trained for: the one that is asked for, or one that has all of its joints."""
    name = said.get("skeleton", OPENPOSE18.name if kind == "readout" else joints.name)
    own = joints if name == joints.name else SKELETONS.get(name)
    if own is None or not set(joints.joints) <= set(own.joints):
        raise UserError(f"weights {weights}: predict {name}, the data have {joints.name}: pass --data.skeleton")
    trained = metadata_value(weights, said, "joints", []) or own.joints
    for channel, (theirs, ours) in enumerate(zip(trained, own.joints)):
        if theirs != ours:
            raise UserError(
                f"weights {weights}: joint {channel} of {name} is {theirs!r} there and {ours!r} here: pass the "
                "--data.skeleton that they were trained with"
            )
    return own


def _kind_of(state: dict[str, Tensor]) -> str:
    """Which net's weights these are that do not say it."""
    return next((kind for kind, sign in SIGNS.items() if sign in state), "higher_hrnet")


def _name(weights: Path) -> str:
    """How tables call a net: after its file, or after its run, whose best weights all have one name."""
    return weights.resolve().parent.name if weights.stem == "best" else weights.name.split(".")[0]
