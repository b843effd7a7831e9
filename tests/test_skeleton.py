"""Skeletons: mirrored joints, orders in each other, and what a broken one is told."""

import json
from dataclasses import replace

import pytest

from rtpe.cli import main
from rtpe.errors import UserError
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
        ({"limbs": ((0, 1), (1, 1))}, r"limb \(1, 1\): expected two joints, got 'left_eye'"),
        ({"sigmas": (0.1, 0, 0.2)}, "sigma of left_eye: expected a number above 0, got 0"),
        ({"sigmas": (0.1, 0.2, -0.2)}, "sigma of right_eye: expected a number above 0, got -0.2"),
        ({"sigmas": (float("nan"), 0.2, 0.2)}, "sigma of nose: expected a number above 0, got nan"),
        ({"sigmas": (float("inf"), 0.2, 0.2)}, "sigma of nose: expected a number above 0, got inf"),
        ({"sigmas": (10**400, 0.2, 0.2)}, "sigma of nose: expected a number above 0, got 1000"),
        ({"joints": ("nose ", "left_eye", "right_eye")}, "expected names without blanks at their ends, got 'nose '"),
        ({"joints": ("nose", "left_eye", "\tright_eye")}, r"expected names without blanks .*, got '\\tright_eye'"),
        ({"joints": ("nose", "left_eye", "")}, "expected names without blanks at their ends, got ''"),
        ({"name": " s"}, "expected names without blanks at their ends, got ' s'"),
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


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "cannot be read (No such file or directory): check --data.skeleton"),
        ("", "cannot be read (not JSON: Expecting value: line 1 column 1 (char 0)): check --data.skeleton"),
        ("[]", "expected an object with name, joints, limbs, sigmas, swap, got list"),
        ('{"name": "s"}', "expected an object with name, joints, limbs, sigmas, swap, got none with joints: add it"),
        (parts(limbs=[1]), "limbs: expected a list of pairs of joint numbers, got [1]"),
        (parts(limbs=[[0, 1.5]]), "limbs: expected a list of pairs of joint numbers, got [[0, 1.5]]"),
        (parts(limbs=[[0, True]]), "limbs: expected a list of pairs of joint numbers, got [[0, true]]"),
        (parts(joints="abc"), 'joints: expected a list of names, got "abc"'),
        (parts(sigmas=["x", 0.1, 0.1]), 'sigmas: expected a list of numbers, got ["x", 0.1, 0.1]'),
        (parts(sigmas=[float("nan"), 0.1, 0.1]), "sigmas: expected a list of numbers, got [NaN, 0.1, 0.1]"),
        (parts(sigmas=[10**400, 0.1, 0.1]), "sigmas: expected a list of numbers, got [1000"),
        (parts(swaps=[[1, 2]]), "swaps: unknown key: choose from name, joints, limbs, sigmas, swap"),
        (parts(swap=[[1, 2, 0]]), "swap: expected a list of pairs of joints, names or numbers, got [[1, 2, 0]]"),
        (parts(swap=None), "swap: expected a list of pairs of joints, names or numbers, got null"),
        (parts(swap=[["left_eye", "eye"]]), "swap: 'eye' is none of the joints: correct it"),
        (parts(sigmas=[0, 0.1, 0.1]), "skeleton s: sigma of nose: expected a number above 0, got 0.0"),
    ],
)
def test_a_file_that_is_no_skeleton(tmp_path, text, message):
    path = tmp_path / "own.json"
    if text is not None:
        path.write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(UserError) as caught:
        skeleton(str(path))
    assert str(caught.value).startswith(f"skeleton file {path}: {message}") and "\n" not in str(caught.value)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "own.json").write_bytes(b"\xff\xfe{\x00")
    with pytest.raises(UserError, match=r"^skeleton file .*own.json: cannot be read \(not JSON: "):
        skeleton(str(tmp_path / "own.json"))


# ---- sides

PLAIN = (
    ("L_hip", "R_hip"), ("l_hip", "r_hip"), ("Left_hip", "Right_hip"), ("left hip", "right hip"),
    ("left-hip", "right-hip"), ("left.hip", "right.hip"), ("hip_l", "hip_r"), ("hip_left", "hip_right"),
    ("HIP RIGHT", "HIP LEFT"), ("hip (L)", "hip (R)"), ("LeftHip", "RightHip"), ("leftHip", "rightHip"),
    ("hipL", "hipR"), ("LHip", "RHip"), ("lHip", "rHip"), ("LEFT_HIP", "RIGHT_HIP"), ("L", "R"), ("left", "right"),
    ("front_left_paw", "front_right_paw"), ("thumb_l_1", "thumb_r_1"), ("Bip01 L Hand", "Bip01 R Hand"),
    ("lhip", "rhip"), ("LHIP", "RHIP"), ("lefthip", "righthip"), ("hipl", "hipr"), ("hip1l", "hip1r"),
    ("FL_paw", "FR_paw"), ("L1", "R1"), ("left1", "right1"), ("L_hip", "r-Hip"), ("left_", "right"),
)  # fmt: skip


@pytest.mark.parametrize("pair", PLAIN, ids=str)
@pytest.mark.parametrize("order", [1, -1])
def test_sides_that_are_named_otherwise_are_never_mirrored_without_a_swap(pair, order):
    """They would train the wrong channel on every mirrored image; with a `swap` they are mirrored rightly."""
    joints = ("nose", *pair[::order])
    with pytest.raises(UserError, match=r'write sides as left_... and right_..., or list the pairs .* under "swap"$'):
        Skeleton(**parts(joints=joints))
    assert Skeleton(**parts(joints=joints, swap=((2, 1),))).flip == [0, 2, 1]


@pytest.mark.parametrize(
    "joints, message",
    [
        (
            ("L_hip", "R_hip"),
            "skeleton s: 'L_hip' looks like one side of a pair: write sides as left_... and right_...",
        ),
        (("lhip", "rhip"), "skeleton s: 'lhip' and 'rhip' look like a pair: write sides as left_... and right_..."),
        (("left_hip", "Right_hip"), "skeleton s: 'left_hip' has no 'right_hip': write sides as left_... and right_..."),
        (("left_hip", "right_hip", "R_knee"), "skeleton s: 'R_knee' looks like one side of a pair: write sides as"),
    ],
)
def test_it_says_which_names_and_how_to_write_them(joints, message):
    with pytest.raises(UserError) as caught:
        Skeleton("s", joints, (), (0.1,) * len(joints))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "joints",
    [
        ("collar", "lower_lip", "upper_lip", "tail", "ear", "heel", "rear", "shoulder"),
        ("wrist", "thumb1", "thumb2", "index1", "pinky1"),  # a hand of one side
        ("C7", "T12", "L1", "L5", "S1", "tail_base"),  # an animal's spine
        ("leftover", "rightful", "upright", "cleft", "Bright", "LED", "RGB"),
        ("skull", "jaw", "neck", "root", "1", "2"),
    ],
)
def test_names_that_merely_contain_the_letters_are_no_sides(joints):
    assert Skeleton("s", joints, (), (0.1,) * len(joints)).flip == list(range(len(joints)))


def test_a_hand_of_one_side_may_say_that_a_mirror_swaps_nothing():
    joints = ("right_wrist", "right_thumb", "R_index")
    with pytest.raises(UserError, match="'right_wrist' has no 'left_wrist'"):
        Skeleton("hand", joints, (), (0.1,) * 3)
    assert Skeleton("hand", joints, (), (0.1,) * 3, swap=()).flip == [0, 1, 2]


@pytest.mark.parametrize(
    "swap, message",
    [
        (((1, 2), (2, 1)), "swap: expected 'left_eye' in one pair, got more"),
        (((1, 2), (0, 2)), "swap: expected 'right_eye' in one pair, got more"),
        (((1, 1),), r"swap \(1, 1\): expected two joints, got 'left_eye'"),
        (((1, 3),), r"swap \(1, 3\) names a joint outside 0..2"),
        (((-1, 1),), r"swap \(-1, 1\) names a joint outside 0..2"),
        (((0, 1),), "swap: 'left_eye' and 'right_eye' look like a pair: add or correct it"),
    ],
    ids=str,
)
def test_a_swap_is_checked(swap, message):
    with pytest.raises(UserError, match=f"^skeleton s: {message}"):
        Skeleton(**parts(swap=swap))


def test_a_pair_that_the_swap_forgets_is_named():
    joints = ("L_hip", "R_hip", "L_knee", "R_knee")
    with pytest.raises(UserError, match="'L_knee' and 'R_knee' look like a pair: add or correct it"):
        Skeleton("legs", joints, (), (0.1,) * 4, swap=((0, 1),))
    with pytest.raises(UserError, match="'L_hip' and 'R_hip' look like a pair"):
        Skeleton("legs", joints, (), (0.1,) * 4, swap=((0, 3), (1, 2)))


@pytest.mark.parametrize("swap", [[["L_hip", "R_hip"]], [["R_hip", "L_hip"]], [[0, 1]], [["L_hip", 1]]], ids=str)
def test_a_file_gives_the_pairs_by_name_or_number(tmp_path, swap):
    raw = {"name": "hips", "joints": ["L_hip", "R_hip"], "limbs": [], "sigmas": [0.1, 1], "swap": swap}
    (tmp_path / "hips.json").write_text("\ufeff" + json.dumps(raw), encoding="utf-8")  # some editors write the mark
    made = skeleton(str(tmp_path / "hips.json"))
    assert made.flip == [1, 0] and made == Skeleton("hips", ("L_hip", "R_hip"), (), (0.1, 1.0), ((0, 1),))


def test_what_the_names_say_and_what_a_swap_says_is_equal():
    assert replace(COCO17, swap=tuple((b, a) for a, b in reversed(COCO17.swap))) == COCO17
    assert replace(COCO17, name="mine").flip == COCO17.flip and hash(COCO17) != hash(replace(COCO17, swap=()))


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(ValueError, match=r"unknown skeleton 'coco': choose from coco17, .* or name a .json file"):
        skeleton("coco")


def test_a_command_says_it_in_one_line(tmp_path, capsys):
    raw = {"name": "hips", "joints": ["L_hip", "R_hip"], "limbs": [], "sigmas": [0.1, 0.1]}
    (tmp_path / "hips.json").write_text(json.dumps(raw))
    assert main(["train", f"--data.root={tmp_path}", f"--data.skeleton={tmp_path / 'hips.json'}"]) == 2
    assert capsys.readouterr().err == (
        f"error: skeleton file {tmp_path / 'hips.json'}: skeleton hips: 'L_hip' looks like one side of a pair: write "
        'sides as left_... and right_..., or list the pairs that a mirror swaps under "swap"\n'
    )
