"""A run that is started again goes on as what it was; what it lost is said, and written again where it can be."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from rtpe.cli import main
from rtpe.nets.weights import read_metadata
from rtpe.report.log import read_history

NUMBERS = "--net.numbers={width: 32, stages: 1, dilations: [1, 2]}"


@pytest.fixture(scope="module")
def words(world):
    return ["train", *world.words, "--loss.pull=0", "--loss.push=0", "--train.epochs=1"]


@pytest.fixture(scope="module")
def ended(words, tmp_path_factory):
    out = tmp_path_factory.mktemp("ended") / "run"
    assert main([*words, NUMBERS, "--net.numbers.colours=hsv", f"--out={out}"]) == 0
    return out


@pytest.fixture
def run(ended, tmp_path):
    return shutil.copytree(ended, tmp_path / "run")


OTHERS = {
    "a number is dropped": ([], "has net.numbers.colours hsv, not rgb"),
    "a number is another": (["--net.numbers.colours=lab"], "has net.numbers.colours hsv, not lab"),
    "a number is added": (
        ["--net.numbers.colours=hsv", "--net.numbers.direct=true"], "has net.numbers.direct False, not True"
    ),
    "another width": (["--net.numbers.colours=hsv", "--net.numbers.width=64"], "has net.numbers.width 32, not 64"),
    "another net": (["--net.kind=pose_hrnet", "--loss.teacher=0"], "has net.kind student, not pose_hrnet"),
    "another rate": (["--net.numbers.colours=hsv", "--train.lr=0.5"], "has train.lr 0.001, not 0.5"),
    "a stem to learn from": (
        ["--net.numbers.colours=hsv", "--net.distill_stem_from=large.safetensors", "--loss.stem=1"],
        'has net.distill_stem_from "", not large.safetensors',
    ),
    "further data": (
        ["--net.numbers.colours=hsv", "--loss.match_peak_width=false"], "has loss.match_peak_width True, not False",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_other_settings_are_refused_before_weights_are_loaded(case, words, run, capsys):
    """The names are those of either side, and what one side lacks is the usual."""
    changed, said = OTHERS[case]
    numbers = [] if "pose_hrnet" in str(changed) else [NUMBERS]
    before = (run / "last.pt").read_bytes()
    assert main([*words, *numbers, *changed, f"--out={run}"]) == 2
    weights = "" if " net." in said else f"; --net.init {run}/best.safetensors begins with its weights"
    assert capsys.readouterr().err == f"error: run {run}: {said}: choose another --out{weights}\n"
    assert (run / "last.pt").read_bytes() == before


@pytest.mark.parametrize(
    "same",
    [["--net.numbers.stride=4"], ["--net.numbers.blocks=[1, 1, 1]"], ["--train.save_fp16=true", "--train.workers=1"]],
)
def test_what_is_the_usual_or_may_change_blocks_nothing(same, words, run, capsys):
    assert main([*words, NUMBERS, "--net.numbers.colours=hsv", *same, f"--out={run}"]) == 0
    assert f"run {run}: ended after epoch 1: nothing left to train" in capsys.readouterr().out


def changed_labels(world, root, change):
    """The pictures of the world in another folder, their labels changed."""
    shutil.copytree(world.root, root)
    path = root / "annotations" / "person_keypoints_train2017.json"
    labels = json.loads(path.read_text())
    change(labels)
    path.write_text(json.dumps(labels))
    return [f"--data.root={root}", NUMBERS, "--net.numbers.colours=hsv"]


def other_id(labels):
    labels["images"][0]["id"] = labels["annotations"][0]["image_id"] = 99


def one_more(labels):
    labels["images"].append({"id": 99, "file_name": "./1.png/../1.png", "height": 64, "width": 64})


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda labels: labels["images"].pop(), "has 8 images, 0 held out, not 7 images, 0 held out"),
        (one_more, "has 8 images, 0 held out, not 9 images, 0 held out"),
        (other_id, "has other images (8 images, 0 held out, of other ids)"),
    ],
    ids=["one less", "one more", "another id"],
)
def test_other_data_are_refused(change, said, world, words, run, tmp_path, capsys):
    before = (run / "last.pt").read_bytes()
    assert main([*words, *changed_labels(world, tmp_path / "other", change), f"--out={run}"]) == 2
    errors = capsys.readouterr().err
    assert errors.endswith(f"error: run {run}: {said}: pass the data it was trained on, or choose another --out\n")
    assert (run / "last.pt").read_bytes() == before


def test_the_same_data_elsewhere_are_the_same(world, words, run, tmp_path, capsys):
    assert main([*words, *changed_labels(world, tmp_path / "moved", lambda _: None), f"--out={run}"]) == 0
    assert "nothing left to train" in capsys.readouterr().out


def test_a_setting_that_there_was_blocks_nothing(words, run, capsys):
    saved = torch.load(run / "last.pt", weights_only=True)
    saved["settings"]["cache"]["codec"] = "uint8"
    torch.save(saved, run / "last.pt")
    assert main([*words, NUMBERS, "--net.numbers.colours=hsv", f"--out={run}"]) == 0


def test_a_run_that_had_ended_writes_lost_weights_again(words, run, capsys):
    before = load_file(run / "best.safetensors")
    (run / "best.safetensors").unlink()
    assert main([*words, NUMBERS, "--net.numbers.colours=hsv", f"--out={run}"]) == 0
    said = capsys.readouterr().out
    assert said.split("\n", 1)[1] == (
        f"run {run}: ended after epoch 1: nothing left to train: pass more --train.epochs to go on\n"
        f"run {run}: best.safetensors was lost: wrote it again\n"
        f"run {run}: best.safetensors is of the last epoch; the curves are in report.html\n"
    )
    again = load_file(run / "best.safetensors")
    assert again.keys() == before.keys() and all(torch.equal(again[name], before[name]) for name in before)


def test_the_score_of_the_best_f1_is_in_the_weights(words, run):
    """As the history has it; of a score of -1 nothing is known."""
    for at in (0.07, -1.0):
        (row,) = read_history(run / "history.jsonl")
        (run / "history.jsonl").write_text(json.dumps({**row, "AP": 0.5, "F1": 0.6, "F1 at": at}) + "\n")
        (run / "best.safetensors").unlink()
        assert main([*words, NUMBERS, "--net.numbers.colours=hsv", f"--out={run}"]) == 0
        assert read_metadata(run / "best.safetensors").get("min_score") == ("0.07" if at > 0 else None)


def test_a_run_that_goes_on_keeps_the_best_of_what_follows(words, run, capsys):
    """Its best score is that of weights that are gone."""
    saved = torch.load(run / "last.pt", weights_only=True)
    torch.save({**saved, "best": 0.9}, run / "last.pt")
    (run / "best.safetensors").unlink()
    assert main([*words, NUMBERS, "--net.numbers.colours=hsv", "--train.epochs=2", f"--out={run}"]) == 0
    assert "best.safetensors is lost: keeps the best of the epochs that follow" in capsys.readouterr().out
    assert (run / "best.safetensors").exists()


@pytest.mark.parametrize("last, said", [(0.3, "wrote it again"), (0.1, "wrote those of the last epoch")])
def test_only_the_last_epochs_weights_can_be_written_again(last, said, words, ended, tmp_path, capsys):
    """Of two epochs, of which the first or the second was the best."""
    run = tmp_path / "scored"
    scored = [*words, NUMBERS, "--train.holdout=2", f"--out={run}"]
    assert main(scored) == 0
    saved = torch.load(run / "last.pt", weights_only=True)
    torch.save({**saved, "best": 0.3}, run / "last.pt")
    (row,) = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    (run / "history.jsonl").write_text(json.dumps({**row, "AP": last}) + "\n")
    (run / "best.safetensors").unlink()
    capsys.readouterr()
    assert main(scored) == 0
    assert said in capsys.readouterr().out and (run / "best.safetensors").exists()
    assert torch.load(run / "last.pt", weights_only=True)["best"] == last


@pytest.mark.parametrize("damage", [b"", b"hello", None])
def test_a_torn_checkpoint_names_what_is_left(damage, words, run, capsys):
    path = run / "last.pt"
    path.write_bytes(path.read_bytes()[:-1000] if damage is None else damage)
    assert main([*words, NUMBERS, "--net.numbers.colours=hsv", f"--out={run}"]) == 2
    assert capsys.readouterr().err == (
        f"error: checkpoint {path}: cannot be resumed (torn, or no checkpoint): choose another --out, or start from "
        f"its best.safetensors by --net.init {run / 'best.safetensors'}\n"
    )
