import copy
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from miniature import STRIDE, samples, spots, teacher_cache

from rtpe.data.distill import TrainingExamples
from rtpe.data.loader import batches, epoch_order
from rtpe.data.settings import AugmentSettings
from rtpe.images import write_image
from rtpe.nets.student import Student
from rtpe.training.checkpoint import TrainingState
from rtpe.training.criterion import Criterion
from rtpe.training.loop import Schedule, fit
from rtpe.training.optim import optimizer

SIDE = 64


def student(seed=0, **numbers):
    torch.manual_seed(seed)
    return Student(**{"joints": 3, "width": 32, "stages": 1, "dilations": (1, 2), "attention": 1, **numbers})


@pytest.fixture(scope="session")
def fabric():
    made = Fabric(accelerator="cpu", devices=1)
    made.launch()
    return made


@pytest.fixture
def fresh(fabric):
    """A run at its beginning, put together as the train command does."""

    def make(net=None, lr=0.003):
        net = student() if net is None else net
        ema = copy.deepcopy(net).requires_grad_(False)
        net, adam = fabric.setup(net, optimizer(net, lr, 0.0001))
        return TrainingState(net, ema, adam)

    return make


@pytest.fixture
def new_student():
    return student


@pytest.fixture
def cache(tmp_path):
    return teacher_cache(tmp_path / "cache", samples(4))


@pytest.fixture
def examples(cache):
    """Views of four photographs with labels and a teacher."""

    def make(photographs=None, **options):
        options = {"cache": cache, "augment": AugmentSettings(), "seed": 1, **options}
        return TrainingExamples(samples(4) if photographs is None else photographs, (SIDE, SIDE), STRIDE, **options)

    return make


@pytest.fixture
def criterion():
    def make(**weights):
        terms = {"teacher": 1.0, "labels": 1.0, "pull": 0.01, "push": 0.01, "person": 0.1}
        return Criterion({**terms, **weights}, sigmas=(1.0,), foreground=5.0)

    return make


@dataclass(frozen=True)
class World:
    """Pictures in a folder, and the words of a quick training on their labels."""

    root: Path

    @property
    def words(self):
        return [
            f"--data.root={self.root}", "--loss.teacher=0", "--net.size=64", "--train.batch=4", "--train.holdout=0",
            "--train.workers=0", "--train.threads=1", "--train.pictures=0", "--device=cpu",
        ]  # fmt: skip


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Eight pictures of one person each, as COCO's files."""
    root, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(0)
    (root / "images" / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    images, people = [], []
    for number in range(1, 9):
        points = np.column_stack([rng.integers(10, 54, (17, 2)), np.full(17, 2)])
        picture = spots(points[:3, :2], (64, 64), 4.0)
        write_image(root / "images" / "train2017" / f"{number}.png", picture)
        images.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 64})
        person = {"bbox": [8, 8, 48, 48], "area": 1200.0, "iscrowd": 0, "segmentation": [[8, 8, 56, 8, 56, 56, 8, 56]]}
        person |= {"keypoints": points.ravel().tolist(), "num_keypoints": 17, "category_id": 1}
        people.append({"id": number, "image_id": number, **person})
    written = json.dumps({"images": images, "annotations": people, "categories": []})
    (root / "annotations" / "person_keypoints_train2017.json").write_text(written)
    return World(root)


@dataclass
class Run:
    """A training of some examples, and what was said on the way."""

    fabric: Fabric
    examples: TrainingExamples
    criterion: Criterion
    schedule: Schedule
    out: object
    batch: int = 2
    killed_after: int = -1
    rows: list = field(default_factory=list)
    kept: list = field(default_factory=list)
    scores: list = field(default_factory=list)

    @property
    def epoch_batches(self):
        return len(epoch_order(len(self.examples), self.batch, self.examples.seed, 0))

    def go(self, state):
        self.out.mkdir(exist_ok=True)
        after, keep = lambda means: self._after(state, means), lambda _: self.kept.append(state.step)
        fit(self.fabric, state, self.criterion, self.schedule, self._of, self.epoch_batches, after, keep, self.out)
        return state

    def _of(self, epoch, start):
        for batch in batches(self.examples, self.batch, epoch, start):
            if self.killed_after == 0:
                raise KeyboardInterrupt
            self.killed_after -= 1
            yield batch

    def _after(self, state, means):
        if self.killed_after == 0:
            raise KeyboardInterrupt
        self.rows.append({"epoch": state.epoch, "step": state.step, **means})
        return {"AP": self.scores.pop(0)} if self.scores else {}


@pytest.fixture
def run(fabric, examples, criterion, tmp_path):
    def make(**changes):
        out = tmp_path / changes.pop("name", "run")
        parts = {
            "examples": examples() if "examples" not in changes else changes.pop("examples"),
            "criterion": criterion(),
            "schedule": Schedule(epochs=3, lr=0.003, checkpoint_minutes=0.0),
        }
        return Run(fabric, **{**parts, "out": out, **changes})

    return make
