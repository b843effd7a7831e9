"""Every command in a process of its own, as a user runs it, on a world of a few small pictures."""

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import yaml
from film import write_video
from places import PROJECT

from rtpe import cli
from rtpe.cli import main
from rtpe.errors import DIVERGED, Diverged, UserError

TINY_NET = "{width: 16, stem: 16, bottlenecks: 1, modules: [1, 1, 1], blocks: 1, head_blocks: 0}"
TINY_TRAINING = [
    "--net.size=64", "--train.epochs=1", "--train.batch=4", "--train.holdout=4", "--train.workers=0",
    "--train.threads=1", "--train.pictures=1",
]  # fmt: skip


def run(*words, script=None, status=0):
    """Run `rtpe WORDS` or a script; its output, once the exit status is the expected one."""
    command = [sys.executable, *(["-m", "rtpe.cli"] if script is None else [str(PROJECT / script)]), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment)
    assert done.returncode == status, done.stderr[-3000:]
    return done.stdout if status == 0 else done.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    run("synth", f"--out={root}", "--train=16", "--val=6", "--size=96", "--seed=3", "--workers=0")
    return root


@pytest.fixture(scope="module")
def teacher(world, tmp_path_factory):
    """A HigherHRNet that was trained for an epoch on labels, by the same command as a student."""
    out = tmp_path_factory.mktemp("teacher")
    numbers = f"--net.numbers={TINY_NET}"
    run(
        "train", f"--data.root={world}", "--net.kind=higher_hrnet", numbers, "--loss.teacher=0", *TINY_TRAINING,
        f"--out={out}",
    )  # fmt: skip
    return out / "best.safetensors"


@pytest.fixture(scope="module")
def caches(world, teacher, tmp_path_factory):
    root = tmp_path_factory.mktemp("caches")
    for split in ("train2017", "val2017"):
        said = run(
            f"--teacher.weights={teacher}", f"--data.root={world}", f"--data.split={split}",
            "--decode.threshold=0.001", f"--cache.path={root / split}", script="teacher_inference.py",
        )  # fmt: skip
        assert " 0 kept, 0 skipped" in said
    return root


@pytest.fixture(scope="module")
def student(world, caches, teacher, tmp_path_factory):
    out = tmp_path_factory.mktemp("student") / "run"
    run(
        f"--data.root={world}", f"--cache.path={caches / 'train2017'}", f"--net.stem={teacher}",
        "--net.numbers={width: 32, stages: 1, attention: 1}", "--loss.person=0.02", *TINY_TRAINING, f"--out={out}",
        script="train_student.py",
    )  # fmt: skip
    return out


def test_a_second_build_keeps_what_is_there(world, caches, teacher):
    path = caches / "train2017"
    said = run(
        "cache", "build", f"--teacher.weights={teacher}", f"--data.root={world}", "--decode.threshold=0.001",
        f"--cache.path={path}",
    )  # fmt: skip
    assert "0 built, 16 kept, 0 skipped" in said


def test_info_names_teacher_and_size(caches):
    said = run("cache", "info", f"--cache.path={caches / 'train2017'}")
    assert "teacher" in said and "coco17" in said and "GB for the 123287 images of COCO" in said


def test_a_run_leaves_weights_settings_history_pictures_and_report(student):
    left = {path.name for path in student.iterdir()}
    assert {"best.safetensors", "last.pt", "settings.yaml", "history.jsonl", "report.html", "tensorboard"} <= left
    assert "Images held out of training" in (student / "report.html").read_text()
    row = json.loads((student / "history.jsonl").read_text().splitlines()[-1])
    assert {"teacher", "labels", "pull", "push", "person", "AP", "lr"} <= row.keys()


def test_a_recorded_run_can_be_repeated_from_its_settings(student, tmp_path):
    """The settings file is valid input again, and the same settings give the same weights, bit for bit."""
    again = tmp_path / "again"
    run("train", f"--config={student / 'settings.yaml'}", f"--out={again}")
    recorded, repeated = (yaml.safe_load((out / "settings.yaml").read_text()) for out in (student, again))
    assert {**recorded, "out": ""} == {**repeated, "out": ""}
    first, second = (json.loads((out / "history.jsonl").read_text().splitlines()[-1]) for out in (student, again))
    assert first["loss"] == second["loss"]


def test_a_student_trains_without_any_label(world, caches, tmp_path):
    run(
        "train", f"--data.root={world}", f"--cache.path={caches / 'train2017'}", "--loss.labels=0",
        "--net.numbers={width: 32, stages: 1}", *TINY_TRAINING, f"--out={tmp_path}",
    )  # fmt: skip
    row = json.loads((tmp_path / "history.jsonl").read_text().splitlines()[-1])
    assert "teacher" in row and "labels" not in row


def test_predictor_cache_and_student_are_scored_by_one_evaluation(world, teacher, caches, student, tmp_path):
    data = [f"--data.root={world}", "--data.split=val2017", "--decode.threshold=0.001"]
    table = run(*data, f"--teacher.weights={teacher}", f"--out={tmp_path / 'live.json'}", script="validate_teacher.py")
    run(*data, f"--cache.path={caches / 'val2017'}", f"--out={tmp_path / 'cache.json'}", script="validate_teacher.py")
    run("validate", *data, f"--weights={student / 'best.safetensors'}", f"--out={tmp_path / 'student.json'}")
    live, cached, light = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("live", "cache", "student"))
    assert {"name", "AP", "AP50", "AP75", "APM", "APL", "AR", "PCK@0.1 box"} <= live[0].keys()
    assert table.split()[:3] == ["name", "AP", "AP50"]
    people = next(row for row in cached if row["name"].endswith("(people)"))
    measured = ("name", "Mparams", "GMACs", "ms", "device", "threads")  # of a network that runs
    assert {**people, "name": ""} == {"name": "", **{k: v for k, v in live[0].items() if k not in measured}}  # exact
    assert light[0]["images"] == 6
    assert list(tmp_path.glob("live*.results.json"))


USER_ERRORS = {
    "misspelt setting": (["train", "--train.lrr=1"], "--train.lrr"),
    "ill-typed setting": (["train", "--train.lr=fast"], "train.lr"),
    "missing data": (["validate", "--weights={teacher}", "--data.root=nowhere"], "--data.root"),
    "missing weights": (["validate", "--data.root={world}", "--weights=nowhere.pth"], "nowhere.pth: no such file"),
    "no weights": (["validate", "--data.root={world}"], "pass --teacher.weights"),
    "missing cache": (["train", "--data.root={world}", "--cache.path=nowhere"], "nowhere"),
    "another skeleton": (
        ["train", "--data.root={world}", "--data.skeleton=mpii16"],
        "has 17 keypoints, skeleton mpii16 has 16: pass --data.skeleton",
    ),
    "nothing to learn from": (["train", "--data.root={world}", "--loss.labels=0"], "nothing to learn from"),
    "fp16 on a CPU": (
        ["train", "--data.root={world}", "--device=cpu", "--train.precision=fp16"],
        "train.precision fp16: needs a GPU, this is a CPU: pass --train.precision bf16",
    ),
    "no cycles": (
        ["train", "--data.root={world}", "--train.holdout=0", "--train.cycles=0"],
        "train.cycles: expected 1 to 20, got 0",
    ),
    "knots in disorder": (
        ["train", "--data.root={world}", "--train.holdout=0", "--loss.labels=[[1, 1], [0, 2]]"],
        "loss.labels: expected 0 or more, or [[progress, weight], ...]",
    ),
    "unknown net": (
        ["train", "--data.root={world}", "--net.kind=huge"],
        "choose from student, rep_student, higher_hrnet",
    ),
    "unknown number": (["train", "--data.root={world}", "--net.numbers={widht: 3}"], "widht"),
    "untaught centers": (
        ["train", "--data.root={world}", "--net.numbers={heads: [centers, offsets]}", "--train.holdout=0"],
        "pass --loss.center",
    ),
    "centers of a net without": (
        ["train", "--data.root={world}", "--loss.offset=1", "--train.holdout=0"],
        "loss.offset: the net has no offsets: leave it at 0, or choose a net with that head",
    ),
    "untaught attention": (
        ["train", "--data.root={world}", "--net.numbers={attention: 1}", "--train.holdout=0"],
        "loss.person: must be above 0 for a net with attention, got 0.0: pass --loss.person",
    ),
    "attention of a net without": (
        ["train", "--data.root={world}", "--loss.person=[[0, 0], [1, 1]]", "--train.holdout=0"],
        "loss.person: the net has no attention: leave it at 0, or choose a net with that head",
    ),
    "read by what is not there": (
        ["validate", "--data.root={world}", "--weights={teacher}", "--decode.grouping=centers"],
        "the net has no centers: pass --decode.grouping tags",
    ),
    "no labels and no teacher": (["train", "--data.root={photos}"], "a teacher must: pass --cache.path"),
    "no labels to score against": (
        ["validate", "--data.root={photos}", "--weights={teacher}"],
        "nothing to score against",
    ),
    "misspelt split": (
        ["train", "--data.root={world}", "--data.split=train2018"],
        "neither annotations/person_keypoints",
    ),
    "other weights": (
        ["validate", "--data.root={world}", "--weights={teacher}", "--teacher.numbers={width: 32}"],
        "of another shape",
    ),
}


@pytest.mark.parametrize("case", USER_ERRORS)
def test_a_users_mistake_is_one_line_that_names_it(case, world, teacher, tmp_path):
    words, expected = USER_ERRORS[case]
    out = [] if words[0] == "validate" else [f"--out={tmp_path}"]
    # in a process of its own it would take seconds each; `main` is what that process runs
    places = {"{world}": world, "{teacher}": teacher, "{photos}": world / "images" / "val2017"}
    for place, path in places.items():
        words = [word.replace(place, str(path)) for word in words]
    said = _in_process(words + out)
    assert expected in said
    assert len(said.strip().splitlines()) == 1 and said.startswith("error: ")


def _in_process(words):
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert main(words) == 2
    return said.getvalue()


def test_a_mistake_on_the_command_line_ends_with_status_2():
    said = run("train", "--train.lrr=1", status=2)
    assert said.strip().splitlines()[-1].startswith("error: rtpe train: ") and "Traceback" not in said


@pytest.mark.parametrize(
    "error, status", [(None, 0), (UserError, 2), (Diverged, DIVERGED), (KeyboardInterrupt, 130)], ids=str
)
def test_a_training_that_diverges_has_a_status_of_its_own(monkeypatch, capsys, error, status):
    """To a study it is a result, and a mistake is none."""

    def command(_):
        if error:
            raise error("step 1: loss nan")

    monkeypatch.setattr("rtpe.cli.synth.run", command)
    monkeypatch.delenv("RTPE_TRACEBACK", raising=False)
    assert main(["synth"]) == status
    said = "stopped\n" if error is KeyboardInterrupt else "error: step 1: loss nan\n"
    assert capsys.readouterr().err == said * bool(error)


@pytest.mark.parametrize("error", [ValueError, KeyError, TypeError, ImportError], ids=lambda kind: kind.__name__)
def test_a_bug_shows_its_traceback(error):
    """Only errors that the program recognises are the user's: one line would hide where a bug is."""

    def work():
        raise error("of a bug")

    with pytest.raises(error, match="of a bug"):
        cli.status(work)


@pytest.mark.parametrize(
    "error, said",
    [
        (FileNotFoundError(2, "No such file or directory", "a.jpg"), "a.jpg: No such file or directory"),
        (OSError(28, "No space left on device", Path("runs/s/last.pt")), "runs/s/last.pt: No space left on device"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("of two\nlines"), "of two lines"),
    ],
    ids=str,
)
def test_an_error_of_the_system_names_its_file(error, said, capsys):
    def work():
        raise error

    assert cli.status(work) == 2
    assert capsys.readouterr().err == f"error: {said}\n"


def test_a_process_that_draws_and_is_killed_is_one_line(tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")

    monkeypatch.setattr("rtpe.synthetic.write.ProcessPoolExecutor.map", broken)
    assert main(["synth", f"--out={tmp_path}", "--train=2", "--val=0", "--size=64", "--workers=1"]) == 2
    assert "was killed, perhaps for want of memory: pass fewer --workers, or --workers 0" in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_who_is_killed_politely_ends_as_by_ctrl_c(capsys, how):
    """Commands and benchmarks alike: a study takes its trainings along."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert cli.status(lambda: os.kill(os.getpid(), how)) == 130
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert capsys.readouterr().err == "stopped\n"


def test_missing_and_torn_images_are_counted_listed_and_skipped(world, teacher, tmp_path):
    broken = tmp_path / "broken"
    (broken / "images/val2017").mkdir(parents=True)
    (broken / "annotations").mkdir()
    name = "annotations/person_keypoints_val2017.json"
    (broken / name).write_bytes((world / name).read_bytes())
    first, second, *others = sorted((world / "images/val2017").iterdir())
    (broken / "images/val2017" / second.name).write_bytes(second.read_bytes()[:500])
    for other in others:
        (broken / "images/val2017" / other.name).write_bytes(other.read_bytes())
    data = [f"--data.root={broken}", "--data.split=val2017", f"--teacher.weights={teacher}"]
    said = run("cache", "build", *data, f"--cache.path={tmp_path / 'cache'}")
    assert "4 built, 0 kept, 2 skipped" in said
    listed = (tmp_path / "cache/skipped.txt").read_text()
    assert first.name in listed and second.name in listed and "truncated" in listed
    assert "truncated" in run("validate", *data)


def test_a_folder_without_labels_is_cached_and_trained_on(world, teacher, tmp_path):
    """Photographs, one of them broken, and a video: all that the teacher could see is learnt from."""
    photos = tmp_path / "photos"
    shutil.copytree(world / "images/val2017", photos)
    broken, *_ = sorted(photos.iterdir())
    broken.write_bytes(broken.read_bytes()[:500])
    write_video(photos / "clip.avi", 8)
    data = [f"--data.root={photos}", "--data.frame_stride=2", f"--cache.path={tmp_path / 'cache'}"]
    said = run("cache", "build", *data, f"--teacher.weights={teacher}", "--decode.threshold=0.001")
    assert "9 built, 0 kept, 1 skipped" in said  # 5 photographs and 4 frames
    attention = ["--net.numbers={width: 32, stages: 1, attention: 1}", "--loss.person=0.02"]
    said = run("train", *data, *attention, *TINY_TRAINING, f"--out={tmp_path / 'run'}")
    assert said.startswith(f"data {photos}: no labels, the teacher's people serve instead: ")
    row = json.loads((tmp_path / "run/history.jsonl").read_text().splitlines()[-1])
    assert {"teacher", "pull", "push", "person"} <= row.keys() and not {"labels", "AP"} & row.keys()
    recorded = yaml.safe_load((tmp_path / "run/settings.yaml").read_text())
    assert recorded["loss"]["labels"] == recorded["train"]["holdout"] == 0
    report = (tmp_path / "run/report.html").read_text()
    assert "Images of the training" in report and "holdout</h2>" not in report
    assert (tmp_path / "run/best.safetensors").is_file()


def test_several_data_sets_and_a_share_of_labels(world, caches, tmp_path):
    """What teachers said of all, labels of some: what nobody knows anything of is counted and left out."""
    common = [
        "train", f"--data.root={world}", "--data.labels=0.5", "--net.numbers={width: 32, stages: 1}", *TINY_TRAINING
    ]  # fmt: skip
    more, cache = f"{{root: {world}, split: val2017, labels: 0", f"--cache.path={caches / 'train2017'}"
    cached = f"--more=[{more}, cache: {caches / 'val2017'}}}]"
    said = run(*common, cache, cached, f"--out={tmp_path / 'run'}")
    assert "left out" not in said and "<dt>images</dt><dd>18</dd>" in (tmp_path / "run/report.html").read_text()
    row = json.loads((tmp_path / "run/history.jsonl").read_text().splitlines()[-1])
    assert {"teacher", "labels", "AP"} <= row.keys()
    said = run(*common, "--loss.teacher=0", f"--out={tmp_path / 'labels'}")
    assert f"left out 6 of 12 images of {world.name}/train2017: they have no labels" in said
    for given in ([cache, f"--more=[{more}}}]"], [cached]):
        assert "has no cache, others have: build one" in _in_process([*common, *given, f"--out={tmp_path / 'no'}"])
    said = _in_process([*common, f"--cache.path={caches / 'val2017'}", f"--out={tmp_path / 'no'}"])
    assert "val2017: image 1 was made of a file of " in said and "000000000001.jpg here has " in said


def test_help_names_every_default():
    said = " ".join(run("train", "--help").split())  # however wide the terminal
    assert "default: 0.001" in said and "peak learning rate" in said


def test_no_command_lists_them():
    assert "cache build" in run()
