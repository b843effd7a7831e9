"""The embedded world: what it annotates is what it drew."""

import contextlib
import io
import json
import math

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from rtpe.skeleton import COCO17
from rtpe.synthetic import Camera, draw_scene, write_world
from rtpe.synthetic.body import Build, make_figure
from rtpe.synthetic.canvas import Canvas
from rtpe.synthetic.outfit import random_outfit
from rtpe.synthetic.paint import Light, Paint
from rtpe.synthetic.pose import LIMITS, POSES, random_pose, turn
from rtpe.synthetic.scene import Actor, annotate
from rtpe.synthetic.solids import ScreenCones, Solids
from rtpe.synthetic.stage import draw_box

NOSE, LEFT_EYE, RIGHT_EYE, LEFT_SHOULDER, RIGHT_SHOULDER = 0, 1, 2, 5, 6
ANKLES = [15, 16]


@pytest.fixture(scope="module")
def scenes():
    """Many small pictures: enough for what is rare."""
    return [draw_scene(np.random.default_rng([7, index]), (96, 128)) for index in range(300)]


@pytest.fixture(scope="module")
def large_scenes():
    return [draw_scene(np.random.default_rng([8, index])) for index in range(25)]


def people_of(scenes):
    return [(scene, person) for scene in scenes for person in scene.people]


class Studio:
    """A level camera before an empty room, where actors stand as told."""

    def __init__(self):
        camera = Camera(400.0, (160.0, 160.0), np.diag([1.0, -1.0, -1.0]), 1.0)
        light = Light(np.array([0.0, -0.6, -0.8]), 0.5, 0.6)
        self.canvas = Canvas(camera, light, np.zeros((320, 320, 3), np.float32))
        self.actors = []

    def enter(self, facing_degrees, place=(0.0, 0.0, -4.0)):
        """Somebody of 1.7 m, upright, arms hanging."""
        rng, build = np.random.default_rng(len(self.actors)), Build(1.7, 1.0, 1.0, 1.0, 1.0)
        pose = random_pose(rng, "stand")
        for name in LIMITS:
            getattr(pose, name)[:] = 0
        pose.shoulder[:, 2] = 12
        camera = self.canvas.camera
        figure = make_figure(build, pose, random_outfit(rng)).moved(turn(y=facing_degrees), np.array(place))
        actor = Actor(figure.moved(*camera.view), build.height)
        actor.outline = self.canvas.draw(actor.figure.solids, len(self.actors))
        self.actors.append(actor)

    def put_box(self, size, place):
        draw_box(self.canvas, np.random.default_rng(0), size, np.array(place), 0.0, Paint((0.5, 0.5, 0.5)))

    def people(self):
        return [annotate(self.canvas, actor, index) for index, actor in enumerate(self.actors)]


def alone(facing_degrees):
    studio = Studio()
    studio.enter(facing_degrees)
    return studio.people()[0].keypoints


def test_a_scene_depends_on_its_generator_alone():
    first, again, other = (draw_scene(np.random.default_rng(seed), (80, 100)) for seed in (3, 3, 4))
    assert first.image.shape == (80, 100, 3) and first.image.dtype == np.uint8
    assert np.array_equal(first.image, again.image) and not np.array_equal(first.image, other.image)
    assert [p.keypoints.tolist() for p in first.people] == [p.keypoints.tolist() for p in again.people]


def test_every_number_of_people_and_every_rarity_occurs(scenes):
    counts = {sum(not person.crowd for person in scene.people) for scene in scenes}
    assert counts == set(range(7))
    everybody = [person for _, person in people_of(scenes)]
    assert 3 <= sum(person.crowd for person in everybody) <= 30  # 4 % of 300, less those hidden
    unlabelled = sum(not person.keypoints.any() and not person.crowd for person in everybody)
    assert 0.01 * len(everybody) < unlabelled < 0.2 * len(everybody)


def test_masks_boxes_and_areas_agree(scenes):
    for scene in scenes:
        total = sum((person.mask.astype(int) for person in scene.people), np.zeros(scene.image.shape[:2], int))
        assert total.max() <= 1
    for _, person in people_of(scenes):
        x, y, w, h = (int(value) for value in person.box_xywh)
        assert person.area == person.mask.sum() == person.mask[y : y + h, x : x + w].sum() > 0


def test_joints_project_to_their_keypoints(scenes):
    for scene, person in people_of(scenes):
        labelled = person.keypoints[:, 2] > 0
        projected = scene.camera.project(person.joints_3d[labelled].astype(float))
        assert np.allclose(projected, person.keypoints[labelled, :2], atol=1e-2)  # metres are kept in float32
        assert not person.keypoints[~labelled].any()
        height, width = scene.image.shape[:2]
        assert ((projected >= 0) & (projected < (width, height))).all()


def test_visible_joints_lie_on_their_person(large_scenes):
    """Not all: ears and noses stand on the very edge of a silhouette, where the pixel may be the background's."""
    on = [
        person.mask[int(y), int(x)] for _, person in people_of(large_scenes) for x, y, v in person.keypoints if v == 2
    ]
    assert len(on) > 200 and np.mean(on) > 0.96


def test_seen_from_the_front_left_is_at_the_right_of_the_image():
    keypoints = alone(0)
    assert keypoints[LEFT_SHOULDER, 0] > keypoints[RIGHT_SHOULDER, 0] + 20
    assert (keypoints[:, 2] == 2).all()


def test_seen_from_behind_the_own_head_hides_the_face():
    keypoints = alone(180)
    assert keypoints[LEFT_SHOULDER, 0] < keypoints[RIGHT_SHOULDER, 0] - 20
    assert (keypoints[[NOSE, LEFT_EYE, RIGHT_EYE], 2] == 0).all()
    assert (keypoints[5:, 2] == 2).all()


@pytest.mark.parametrize("facing, near, far", [(90, "right", "left"), (-90, "left", "right")])
def test_a_profile_shows_one_side(facing, near, far):
    """Who looks to the right of the image turns the right ear to the camera; the arm hangs before the near hip."""
    v = dict(zip(COCO17.joints, alone(facing)[:, 2]))
    assert v["nose"] == v[f"{near}_ear"] == v[f"{near}_shoulder"] == v[f"{near}_wrist"] == 2
    assert v[f"{far}_ear"] == v[f"{far}_eye"] == 0 and v[f"{far}_shoulder"] == v[f"{far}_hip"] == 1


def test_joints_behind_a_box_are_labelled_as_far_as_anyone_could_tell():
    """A low box hides the ankles just below the shins, a high one all of the legs: those nobody could place."""
    low, high = (_behind_box(height) for height in (0.33, 0.95))
    assert (low[ANKLES] == 1).all() and (low[: ANKLES[0]] == 2).all()
    assert (high[ANKLES] == 0).all() and (high[:LEFT_SHOULDER] == 2).all()


def test_of_a_hidden_limb_no_joint_is_labelled(scenes):
    """A hidden elbow, wrist, knee or ankle has a joint seen beside it on its limb, or nobody could place it."""
    limbs = [(first, first + 2, first + 4) for first in (5, 6, 11, 12)]  # shoulders and hips
    hidden = 0
    for _, person in people_of(scenes):
        v = person.keypoints[:, 2]
        for upper, middle, end in limbs:
            assert v[middle] != 1 or 2 in (v[upper], v[end])
            assert v[end] != 1 or v[middle] == 2
            hidden += (v[[middle, end]] == 1).sum()
    assert hidden > 20


def _behind_box(height):
    studio = Studio()
    studio.enter(0)
    studio.put_box((1.5, height, 0.3), (0.0, 0.0, -3.0))
    return studio.people()[0].keypoints[:, 2]


def test_the_nearer_person_hides_the_farther_one_in_any_order_of_drawing():
    for places in ([(0.0, 0.0, -4.0), (0.2, 0.0, -3.0)], [(0.2, 0.0, -3.0), (0.0, 0.0, -4.0)]):
        studio = Studio()
        for place in places:
            studio.enter(0, place)
        far, near = sorted(studio.people(), key=lambda person: -person.joints_3d[0, 2])
        assert (near.keypoints[:, 2] == 2).all()
        assert far.keypoints[LEFT_SHOULDER, 2] < 2 and far.keypoints[RIGHT_SHOULDER, 2] == 2


def test_too_little_of_a_person_is_left_unlabelled_and_nothing_is_no_person():
    studio = Studio()
    studio.enter(0)
    studio.put_box((3.0, 1.45, 0.3), (0.0, 0.0, -3.0))  # a head looks over it
    person = studio.people()[0]
    assert person.area > 0 and not person.keypoints.any()
    studio.put_box((3.0, 3.0, 0.3), (0.0, 0.0, -2.0))
    assert studio.people() == [None]


@pytest.mark.parametrize("name", POSES)
def test_bones_keep_their_lengths_and_the_figure_stands_on_the_floor(name):
    rng = np.random.default_rng(0)
    for _ in range(10):
        figure = make_figure(Build(1.7, 1.0, 1.0, 1.0, 1.0), random_pose(rng, name), random_outfit(rng))
        bones = figure.joints[[7, 8, 9, 10, 13, 14, 15, 16]] - figure.joints[[5, 6, 7, 8, 11, 12, 13, 14]]
        lengths = np.linalg.norm(bones, axis=1)
        assert np.allclose(lengths, [0.29, 0.29, 0.25, 0.25, 0.42, 0.42, 0.41, 0.41])
        assert math.isclose((figure.solids.ends[:, :, 1] - figure.solids.radii).min(), 0, abs_tol=1e-9)


@pytest.mark.parametrize("squash", [1.0, 0.6])
def test_rays_meet_a_solid_where_its_balls_are(squash):
    """Against the slow oracle: thousands of balls along the axis, each met by itself."""
    camera = Camera(200.0, (50.0, 50.0), np.eye(3), 0.0)
    frame = turn(20, 40, 60)
    solids = Solids(
        np.array([[[-0.1, 0.05, 3.0], [0.2, -0.1, 3.3]]]), np.array([[0.2, 0.12]]), frame[None], np.array([squash]), []
    )
    cones, screen = ScreenCones(camera, solids), camera.to_screen(solids.ends[0])
    x, y = (grid.ravel().astype(np.float32) for grid in np.meshgrid(np.linspace(-20, 30, 40), np.linspace(-25, 20, 40)))
    hit, depth, _, _ = cones.meet(0, x, y)
    stretch = np.eye(3) + (1 / squash - 1) * np.outer(frame[2], frame[2])
    nearest = np.full(len(x), np.inf)
    for t in np.linspace(0, 1, 2001):
        center = t * (screen[1] - screen[0])
        radius = (1 - t) * 0.2 * 200 / 3.0 + t * 0.12 * 200 / 3.3
        start, step = stretch @ (np.stack([x, y, 0 * x]) - center[:, None]), stretch[:, 2]
        half, rest = step @ start / (step @ step), (np.einsum("in,in->n", start, start) - radius**2) / (step @ step)
        met = half**2 >= rest
        nearest[met] = np.minimum(nearest, -half - np.sqrt(np.maximum(half**2 - rest, 0)))[met]
    assert (hit != np.isfinite(nearest)).mean() < 0.002  # only rays that graze it
    both = hit & np.isfinite(nearest)
    # the balls of the oracle are 0.02 px apart: near the edge depth changes faster than that
    assert both.sum() > 200 and np.quantile(np.abs(depth - nearest)[both], 0.98) < 0.01


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    return root, write_world(root, "train", 40, seed=5, size_hw=(96, 96), progress=False)


def load(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_pycocotools_reads_the_world(world):
    root, path = world
    dataset = load(path)
    assert len(dataset.imgs) == 40 and dataset.loadCats(1)[0]["keypoints"] == list(COCO17.joints)
    assert dataset.imgs[7]["file_name"] == "000000000007.jpg" and (root / "images/train/000000000007.jpg").exists()
    crowds = 0
    for annotation in dataset.anns.values():
        decoded = dataset.annToMask(annotation)
        assert decoded.shape == (96, 96)
        if annotation["iscrowd"]:
            crowds += 1
            assert decoded.sum() == annotation["area"] and annotation["num_keypoints"] == 0
            assert coco_mask.area(dataset.annToRLE(annotation)) == annotation["area"]
        else:
            keypoints = np.reshape(annotation["keypoints"], (17, 3))
            assert annotation["num_keypoints"] == (keypoints[:, 2] > 0).sum()
            assert np.shape(annotation["joints_3d"]) == (17, 3)
            assert abs(int(decoded.sum()) - annotation["area"]) <= 60 + 0.3 * annotation["area"]  # contours fill holes
    assert crowds > 0


def test_written_keypoints_are_half_a_pixel_less(world):
    scene = next(s for s in (draw_scene(np.random.default_rng([5, KEY, i]), (96, 96)) for i in range(9)) if s.people)
    annotations = json.loads(world[1].read_text())["annotations"]
    written = {tuple(a["bbox"]): np.reshape(a["keypoints"], (17, 3)) for a in annotations}
    person = scene.people[0]
    labelled = person.keypoints[:, 2] > 0
    found = written[person.box_xywh]
    assert np.allclose(found[labelled, :2] + 0.5, person.keypoints[labelled, :2], atol=0.0051)
    assert np.array_equal(found[:, 2], person.keypoints[:, 2])


KEY = 1550247075  # crc32 of "train": a set drawn years ago must be drawn again


def files_of(root):
    return {path.name: path.read_bytes() for path in sorted(root.rglob("*.*")) if path.is_file()}


def test_workers_and_repetition_change_nothing_and_splits_differ(tmp_path):
    for name, workers in (("none", 0), ("two", 2)):
        write_world(tmp_path / name, "val", 8, seed=1, size_hw=(64, 64), workers=workers, progress=False)
    assert files_of(tmp_path / "none") == files_of(tmp_path / "two")
    write_world(tmp_path / "none", "test", 8, seed=1, size_hw=(64, 64), progress=False)
    images = [(tmp_path / "none/images" / split / "000000000001.jpg").read_bytes() for split in ("val", "test")]
    assert images[0] != images[1]


def test_a_finished_set_is_kept_and_another_one_refused(tmp_path):
    path = write_world(tmp_path, "val", 2, seed=1, size_hw=(64, 64), progress=False)
    before = path.stat().st_mtime_ns
    assert write_world(tmp_path, "val", 2, seed=1, size_hw=(64, 64), progress=False) == path
    assert path.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"holds count 2, not 3; seed 1, not 9: choose another root"):
        write_world(tmp_path, "val", 3, seed=9, size_hw=(64, 64), progress=False)
