"""Skeletons: mirrored joints, orders in each other, and what a broken one is told."""

import json

import pytest

from rtpe.skeleton import COCO17, CROWDPOSE14, LSP14, MPII16, OPENPOSE18, SKELETONS, Skeleton, skeleton

SKELETON_IDS = sorted(SKELETONS)


def parts(**changes):
    """The fields of a small valid skeleton, with changes."""
    whole = {"name": "s", "joints": ("nose", "left_eye", "right_eye"), "limbs": ((0, 1),), "sigmas": (0.1, 0.2, 0.2)}
    return {**whole, **changes}


@pytest.mark.parametrize(
    "name, joints", [("coco17", 17), ("openpose18", 18), ("mpii16", 16), ("lsp14", 14), ("crowdpose14", 14)]
)
def test_built_in_skeletons_have_their_joints(name, joints):
    """A lost joint would shift all channels after it."""
    assert len(skeleton(name)) == joints and skeleton(name).name == name


@pytest.mark.parametrize("name", SKELETON_IDS)
def test_mirroring_twice_changes_nothing(name):
    """A swap that is no involution would name some joint twice after a flip."""
    flip = SKELETONS[name].flip
    assert sorted(flip) == list(range(len(flip)))
    assert [flip[index] for index in flip] == list(range(len(flip)))


@pytest.mark.parametrize("name", SKELETON_IDS)
def test_mirroring_swaps_sides_and_nothing_else(name):
    """A middle joint that moved, or a left one that stayed, would train the wrong channel on every flipped image."""
    joints = SKELETONS[name].joints
    for joint, index in zip(joints, SKELETONS[name].flip):
        swapped = joint.replace("left_", "right_") if "left_" in joint else joint.replace("right_", "left_")
        assert joints[index] == swapped


@pytest.mark.parametrize("name", SKELETON_IDS)
def test_a_pair_is_labelled_equally_well(name):
    """OKS sigmas that differ from left to right would score a mirrored image differently."""
    made = SKELETONS[name]
    assert [made.sigmas[index] for index in made.flip] == list(made.sigmas)


@pytest.mark.parametrize("name", SKELETON_IDS)
def test_limbs_are_mirror_images_of_each_other(name):
    """A limb without its counterpart is a typing error in the table."""
    made = SKELETONS[name]
    limbs = {frozenset(limb) for limb in made.limbs}
    assert {frozenset(made.flip[joint] for joint in limb) for limb in limbs} == limbs


def test_orders_between_skeletons():
    """A wrong order would hand the student the teacher's elbow for a knee."""
    order = COCO17.order_in(OPENPOSE18)
    assert [OPENPOSE18.joints[index] for index in order] == list(COCO17.joints)
    assert COCO17.order_in(COCO17) == list(range(17))


def test_crowdposes_joints_are_those_of_lsp_in_another_order():
    """So labels of one train and score nets of the other; hips are what CrowdPose scores most mildly."""
    order = CROWDPOSE14.order_in(LSP14)
    assert sorted(order) == list(range(14)) and CROWDPOSE14.flip == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13]
    assert [CROWDPOSE14.joints[joint] for joint, sigma in enumerate(CROWDPOSE14.sigmas) if sigma == 0.107] == [
        "left_hip",
        "right_hip",
    ]


def test_a_joint_that_is_lacking_is_named():
    with pytest.raises(ValueError, match="skeleton mpii16 lacks neck of lsp14"):
        LSP14.order_in(MPII16)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"joints": (), "sigmas": ()}, "joint names must be unique and not empty"),
        ({"joints": ("nose", "nose", "neck")}, "joint names must be unique"),
        ({"sigmas": (0.1,)}, "3 joints need as many sigmas, got 1"),
        ({"limbs": ((0, 3),)}, r"limb \(0, 3\) names a joint outside 0..2"),
        ({"limbs": ((-1, 0),)}, r"limb \(-1, 0\) names a joint outside 0..2"),
        ({"joints": ("nose", "left_eye", "neck")}, "'left_eye' has no 'right_eye'"),
    ],
    ids=str,
)
def test_a_broken_skeleton_says_why(changes, message):
    with pytest.raises(ValueError, match=message):
        Skeleton(**parts(**changes))


def test_a_skeleton_from_a_file(tmp_path):
    """The circle through JSON: lists come back as tuples, so that skeletons stay comparable."""
    path = tmp_path / "own.json"
    path.write_text(json.dumps(parts()))
    assert skeleton(str(path)) == Skeleton(**parts())


@pytest.mark.parametrize("text", [None, "", "[]", '{"name": "s"}', json.dumps(parts(limbs=[1]))], ids=str)
def test_a_file_that_is_no_skeleton(tmp_path, text):
    path = tmp_path / "own.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"skeleton file .*own.json: expected an object with name, joints, limbs"):
        skeleton(str(path))


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(ValueError, match=r"unknown skeleton 'coco': choose from coco17, .* or name a .json file"):
        skeleton("coco")
