"""The switchboard: names become objects, and an unknown name is one line with the choices."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rtpe.decode.decoders import groupings_of, make_decoder, with_grouping
from rtpe.decode.higher_hrnet import PublishedSettings
from rtpe.decode.settings import DecodeSettings
from rtpe.geometry import Affine
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.predictors.load import load_predictor
from rtpe.predictors.settings import TeacherSettings
from rtpe.skeleton import COCO17, Skeleton
from rtpe.structures import PoseMaps


def one_person(**also):
    heat = np.zeros((17, 8, 8), np.float32)
    heat[:, 4, 4] = 0.9
    return PoseMaps(heat, Affine.identity(), (8, 8), COCO17, also)


def test_people_are_told_apart_by_what_the_settings_name():
    """Each reads its own maps, with the settings that it knows."""
    tags = one_person(tags=np.zeros((1, 17, 8, 8), np.float32))
    centers = one_person(centers=np.full((1, 8, 8), 0.5, np.float32), offsets=np.zeros((34, 8, 8), np.float32))
    centers.centers[0, 4, 4] = 0.8
    assert len(make_decoder(DecodeSettings())(tags)) == 1
    assert len(make_decoder(DecodeSettings(grouping="centers"))(centers)) == 1
    assert len(make_decoder(DecodeSettings(grouping="centers", threshold=0.85))(centers)) == 0
    with pytest.raises(ValueError, match="centers: the maps have none"):
        make_decoder(DecodeSettings(grouping="centers"))(tags)


def test_an_unknown_grouping_is_refused():
    with pytest.raises(ValueError) as error:
        make_decoder(DecodeSettings(grouping="boxes"))
    assert str(error.value) == "unknown grouping 'boxes': choose from auto, centers, tags, higher_hrnet"


@pytest.mark.parametrize(
    "kind, numbers, grouping, message",
    [
        ("student", {}, "tags", None),
        ("student", {"heads": ["centers", "offsets"]}, "centers", None),
        ("student", {"heads": ["tags", "centers", "offsets"]}, "tags", None),
        ("student", {"heads": []}, "tags", None),  # one person an image needs no telling apart
        ("student", {"heads": ["centers", "offsets"]}, "tags", "the net has no tags: pass --decode.grouping centers"),
        (
            "student",
            {"heads": ["centers", "offsets"]},
            "higher_hrnet",
            "the net has no tags: pass --decode.grouping centers",
        ),
        ("student", {}, "higher_hrnet", None),
        ("student", {}, "centers", "the net has no centers: pass --decode.grouping tags"),
        ("higher_hrnet", {"width": 8}, "centers", "the net has no centers: pass --decode.grouping tags"),
    ],
)
def test_a_net_is_read_by_what_it_has(kind, numbers, grouping, message):
    """Read by tags that it has not, a net would show one person an image, and nobody would know why."""
    made = create_net(kind, numbers, 3)
    if message is None:
        make_decoder(DecodeSettings(grouping=grouping), made)
        return
    with pytest.raises(ValueError) as error:
        make_decoder(DecodeSettings(grouping=grouping), made)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "kind, numbers, grouping",
    [
        ("student", {}, "tags"),
        ("student", {"heads": ["tags", "centers", "offsets"]}, "centers"),
        ("student", {"heads": []}, "tags"),
        ("higher_hrnet", {"width": 8}, "tags"),
    ],
)
def test_of_what_a_net_has_the_best_is_read_unless_another_is_named(kind, numbers, grouping):
    """Centers told people apart best (docs/results.md); where nothing does, there is one person an image."""
    made = create_net(kind, numbers, 3)
    assert with_grouping(DecodeSettings(), made) == DecodeSettings(grouping=grouping)
    assert with_grouping(DecodeSettings(grouping="higher_hrnet"), made).grouping == "higher_hrnet"
    assert make_decoder(DecodeSettings(), made).func is make_decoder(DecodeSettings(grouping=grouping)).func


def test_tags_can_be_read_in_two_ways():
    for numbers, names in [({}, ["tags", "higher_hrnet"]), ({"heads": ["centers", "offsets"]}, ["centers"])]:
        assert groupings_of(create_net("student", numbers, 3)) == names
    said = DecodeSettings(grouping="higher_hrnet", threshold=0.85, max_people=7)
    assert make_decoder(said).keywords["settings"] == PublishedSettings(threshold=0.85, max_people=7)
    assert len(make_decoder(said)(one_person(tags=np.zeros((1, 17, 8, 8), np.float32)))) == 1


def test_a_predictor_by_tags_describes_itself_as_before_there_was_a_choice(tmp_path):
    """A cache that was begun then would else be another teacher's; people read by centers are another word."""
    said = {}
    centers = {"heads": ["centers", "offsets"]}
    for grouping, numbers in (("tags", {}), ("centers", centers), ("auto", centers)):
        weights = tmp_path / f"{grouping}.safetensors"
        save_net(weights, create_net("student", numbers, 17), "student", COCO17, 64, {})
        made = load_predictor(TeacherSettings(weights=str(weights)), DecodeSettings(grouping=grouping), COCO17, "cpu")
        said[grouping] = made.describe()["settings"]["decode"]
    assert "grouping" not in said["tags"] and said["centers"] == {**said["tags"], "grouping": "centers"}
    assert said["auto"] == said["centers"]


def test_weights_know_the_order_of_their_joints(tmp_path):
    """Two files of one name and as many joints: the other's elbow would be taken for this one's knee."""
    legs = Skeleton("legs", ("L_hip", "R_hip", "tail"), (), (0.1,) * 3, swap=((0, 1),))
    weights = tmp_path / "net.safetensors"
    save_net(weights, create_net("student", {"width": 32, "stages": 1}, 3), "student", legs, 64, {})
    teacher = TeacherSettings(weights=str(weights), flip=True)
    assert load_predictor(teacher, DecodeSettings(), legs, "cpu").skeleton == legs
    other = replace(legs, joints=("L_hip", "tail", "R_hip"), swap=((0, 2),))
    with pytest.raises(ValueError) as caught:
        load_predictor(teacher, DecodeSettings(), other, "cpu")
    assert str(caught.value) == (
        f"weights {weights}: joint 1 of legs is 'R_hip' there and 'tail' here: pass the --data.skeleton that they were "
        "trained with"
    )


def test_the_flip_test_swaps_what_the_skeleton_says(tmp_path):
    """Of a net that shows the same of an image and of its mirror image but for its channels, the mean is the mean."""
    torch.manual_seed(0)
    made = create_net("student", {"width": 32, "stages": 1}, 2)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    image = np.concatenate([image[:, :32], image[:, 31::-1]], axis=1)  # the same from left to right
    maps = {}
    for name, swap in (("apart", ()), ("pair", ((0, 1),))):
        skeleton = Skeleton(name, ("L_hip", "R_hip"), (), (0.1, 0.1), swap)
        save_net(tmp_path / "net.safetensors", made, "student", skeleton, 64, {})
        teacher = TeacherSettings(weights=str(tmp_path / "net.safetensors"), flip=True)
        (said,) = load_predictor(teacher, DecodeSettings(), skeleton, "cpu")([image])
        maps[name] = said.maps.heatmaps
    mirrored = maps["pair"][::-1, :, ::-1]
    np.testing.assert_allclose(maps["pair"], mirrored, atol=1e-5)  # float32: sums in another order
    assert np.abs(maps["apart"] - maps["apart"][::-1, :, ::-1]).max() > 1e-3
