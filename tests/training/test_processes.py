"""Several processes train as one would: the same losses, one clock, and curves of all images."""

import json
import os
import subprocess
import sys

import pytest
import torch
from places import PROJECT

from rtpe.cli import main
from rtpe.data.loader import batches
from rtpe.nets.create import create_net
from rtpe.nets.metadata import save_net
from rtpe.skeleton import COCO17
from rtpe.training.loop import Schedule

HOUR = 60.0
LAUNCHED = {
    "by itself": ["-m", "rtpe.cli", "train", "--train.processes=2"],
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train_student.py"],
}


@pytest.fixture(scope="module")
def words(world, tmp_path_factory):
    """A training in which no image weighs more in its share than in the whole batch.

    Norms that are frozen see no batch at all; heatmap terms are means over images, the others over people and cells.
    The tags may learn, but nobody asks for them.
    """
    path = tmp_path_factory.mktemp("start") / "net.safetensors"
    torch.manual_seed(0)
    net = create_net("student", {"width": 32, "stages": 1, "dilations": [1, 2]}, len(COCO17))
    save_net(path, net, "student", COCO17, 64, {})
    others = [f"--loss.{name}=0" for name in ("pull", "push")]
    return [*world.words, f"--net.init={path}", "--net.trainable=[side, heads]", *others, "--train.epochs=3"]


@pytest.fixture(scope="module")
def alone(words, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    assert main(["train", *words, f"--out={out}"]) == 0
    return curves(out)


def curves(out):
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in ("epoch", "step", "loss", "labels", "gradient", "lr")} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("how", LAUNCHED)
def test_two_processes_have_the_curves_of_one(words, alone, tmp_path, how):
    """Of the same batches, 4 images shared by two as 2 and 2; sums in another order differ by some 1e-7."""
    out = tmp_path / "pair"
    command = [sys.executable, *LAUNCHED[how], *words, f"--out={out}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("epoch   1") == 1  # one of them speaks
    assert "processes: 2" in (out / "settings.yaml").read_text()
    pair = curves(out)
    assert len(pair) == len(alone) == 3 and alone[2]["loss"] < alone[0]["loss"]
    for row, want in zip(pair, alone):
        assert row == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("batch, processes, images", [(1, 2, 1), (9, 5, 4)])
def test_a_batch_has_an_image_for_each_process(examples, batch, processes, images):
    """Else one of them would step without an image, or the others wait for it for ever."""
    with pytest.raises(ValueError, match=rf"train.batch: {images} images a step cannot be shared by {processes} proc"):
        next(batches(examples(), batch, epoch=0, share=(0, processes)))


def test_one_process_tells_the_time(fresh, run, fabric):
    """By their own clocks two processes would step at different rates, and one would leave the other waiting."""

    class Second:
        """The second of two processes, told the first one's time."""

        global_rank = 1

        def __getattr__(self, name):
            return getattr(fabric, name)

        def broadcast(self, seconds):
            return HOUR

    made = run(schedule=Schedule(epochs=1000, lr=0.003, minutes=1.0, checkpoint_minutes=0.0))
    made.fabric = Second()
    state = made.go(fresh())
    assert state.step == 1 and state.seconds == HOUR
    assert made.kept == [] and list(made.out.iterdir()) == []  # only the first process writes


def test_an_epoch_tells_the_mean_over_all_processes(fresh, run, fabric):
    """Else its curves would be those of the first one's share of the images, and its rate half of the true one."""

    class Pair:
        """Two processes, of whose means ours is a third and the other's two thirds."""

        world_size = 2

        def __getattr__(self, name):
            return getattr(fabric, name)

        def all_reduce(self, values):
            return (values + 2 * values) / 2

    alone, pair = run(schedule=Schedule(epochs=1, lr=0.0)), run(name="pair", schedule=Schedule(epochs=1, lr=0.0))
    pair.fabric = Pair()
    alone.go(fresh())
    pair.go(fresh())
    names = alone.rows[0].keys() - {"images_per_s", "epoch", "step", "lr"}
    assert {name: pair.rows[0][name] for name in names} == pytest.approx(
        {name: 1.5 * alone.rows[0][name] for name in names}
    )
    assert (pair.rows[0]["lr"], pair.rows[0]["step"]) == (alone.rows[0]["lr"], alone.rows[0]["step"])
