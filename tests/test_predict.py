"""Annotating a folder: rows and pictures of what could be read, and nothing outside the folder that was named."""

import json
from pathlib import Path

import numpy as np
import pytest
from film import write_video

from rtpe.cli import main
from rtpe.cli.predict import _counted
from rtpe.images import read_image, write_image
from rtpe.live.images import _place
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.skeleton import COCO17


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "net.safetensors"
    save_net(path, create_net("student", {"width": 32, "stages": 1}, 17), "student", COCO17, 64, {})
    return path


def predict(weights, root, out, *words):
    return main(["predict", f"--weights={weights}", f"--data.root={root}", f"--out={out}", *words])


def test_photographs_and_frames_are_annotated_and_drawn(weights, tmp_path, capsys):
    """A random net finds somebody everywhere; what it found is in the rows, with the names that the files have."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "deep").mkdir(parents=True)
    grey = np.full((48, 80, 3), 128, np.uint8)
    write_image(photos / "deep" / "a.png", grey)
    (photos / "torn.jpg").write_bytes(b"\xff\xd8")
    write_video(photos / "clip.avi", 2)
    assert predict(weights, photos, out, "--decode.threshold=0", "--min_score=0", "--draw=true") == 0
    rows, said = json.loads((out / "results.json").read_text()), capsys.readouterr().out.splitlines()
    assert said[0] == f"{len(rows)} people in 3 of 4 images: {out / 'results.json'}"
    assert said[1].startswith(f"skipped: image {photos / 'torn.jpg'}: ") and len(said) == 2
    names = ["clip.avi#000000", "clip.avi#000001", "deep/a.png"]
    assert "deep/a.png" in {row["file_name"] for row in rows} <= set(names)
    assert {"image_id", "category_id", "keypoints", "score"} <= rows[0].keys()
    pictures = sorted((out / "pictures").rglob("*.*"))
    assert [str(path.relative_to(out / "pictures")) for path in pictures] == [f"{name}.jpg" for name in names]
    drawn = read_image(pictures[-1])
    assert drawn.shape == grey.shape and np.ptp(drawn) > 100


def test_people_of_low_scores_are_left_out_of_rows_and_pictures(weights, tmp_path, capsys):
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", image)
    counts = []
    for least in ("0", "0.9"):
        assert (
            predict(weights, tmp_path / "a.png", tmp_path / least, "--decode.threshold=0", f"--min_score={least}") == 0
        )
        counts.append(len(json.loads((tmp_path / least / "results.json").read_text())))
    assert counts[0] > counts[1] == 0
    every, none = capsys.readouterr().out.splitlines()
    assert every.startswith(f"{counts[0]} people in 1 of 1 images: ")
    assert (
        none.startswith(f"0 of {counts[0]} people, those above --min_score 0.9 (scores reach 0.")
        and "in 1 of 1" in none
    )


@pytest.mark.parametrize(
    "scores, said",
    [
        ([], "0 people"),
        ([0.9, 0.2], "2 people"),
        ([0.9, 0.2, 0.19], "2 of 3 people, those above --min_score 0.2,"),
        ([0.1, 0.15], "0 of 2 people, those above --min_score 0.2 (scores reach 0.15: pass a lower one),"),
    ],
    ids=str,
)
def test_what_a_threshold_hides_is_counted(scores, said):
    assert _counted(sum(score >= 0.2 for score in scores), scores, "0.2") == said


@pytest.mark.parametrize(
    "own, asked, kept, said",
    [
        (None, [], 0.2, "0.2, the usual one"),
        (0.03, [], 0.03, "0.03, the network's own"),
        (0.03, ["--min_score=0.9"], 0.9, "0.9"),
        (0.9, ["--min_score=0"], 0.0, ""),
    ],
)
def test_a_net_has_a_score_of_its_own_for_doubtful_people(own, asked, kept, said, tmp_path, capsys):
    """Twice as many joints as are asked for, so that it speaks through another one."""
    path, made = tmp_path / "own.safetensors", create_net("student", {"width": 32, "stages": 1}, 17)
    save_net(path, made, "student", COCO17, 64, {}, min_score=own)
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", image)
    assert predict(path, tmp_path / "a.png", tmp_path / "out", "--decode.threshold=0", *asked) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert all(row["score"] >= kept for row in rows)
    printed = capsys.readouterr().out
    assert f"above --min_score {said}" in printed if said else "above" not in printed


def test_ids_are_whole_numbers_where_numbers_are_float64(weights, tmp_path):
    """As in JavaScript: photographs and frames of a folder, whose ids are hashes."""
    (tmp_path / "photos").mkdir()
    write_image(tmp_path / "photos" / "a.png", np.full((48, 80, 3), 128, np.uint8))
    write_video(tmp_path / "photos" / "clip.avi", 2)
    assert predict(weights, tmp_path / "photos", tmp_path / "out", "--decode.threshold=0", "--min_score=0") == 0
    text = (tmp_path / "out" / "results.json").read_text()
    ids, rounded = ([row["image_id"] for row in json.loads(text, parse_int=kind)] for kind in (int, float))
    assert ids == rounded and len(set(rounded)) == 3


def test_nothing_is_drawn_unasked(weights, tmp_path):
    write_image(tmp_path / "black.png", np.zeros((20, 30, 3), np.uint8))
    assert predict(weights, tmp_path / "black.png", tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.json"]


def test_nothing_to_look_at_is_a_users_mistake(weights, tmp_path, capsys):
    assert predict(weights, tmp_path / "gone", tmp_path / "out") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: ") and "no such folder or file" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name, place",
    [
        ("a.jpg", "a.jpg"),
        ("b/a.png", "b/a.png.jpg"),
        ("clip.mp4#000010", "clip.mp4#000010.jpg"),
        ("../../a.jpg", "a.jpg"),
        ("/etc/a.jpg", "etc/a.jpg"),
    ],
)
def test_pictures_stay_in_their_folder(name, place):
    """Names come from an annotation file, which anyone may have written."""
    assert _place(Path("out"), name) == Path("out") / place
