import copy
from dataclasses import dataclass, field

import pytest
import torch
from lightning_fabric import Fabric
from miniature import STRIDE, samples, teacher_cache

from rtpe.data.distill import TrainingExamples, batches, epoch_order
from rtpe.engine.checkpoint import TrainingState
from rtpe.engine.criterion import Criterion
from rtpe.engine.loop import Schedule, fit
from rtpe.engine.optim import optimizer
from rtpe.nets.student import Student
from rtpe.views import ViewSettings

SIDE = 64


def student(seed=0, **numbers):
    torch.manual_seed(seed)
    return Student(**{"joints": 3, "width": 32, "stages": 1, "dilations": (1, 2), **numbers})


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
        options = {"cache": cache, "augment": ViewSettings(), "seed": 1, **options}
        return TrainingExamples(samples(4) if photographs is None else photographs, (SIDE, SIDE), STRIDE, **options)

    return make


@pytest.fixture
def criterion():
    def make(**weights):
        terms = {"teacher": 1.0, "truth": 1.0, "pull": 0.01, "push": 0.01, "person": 0.1}
        return Criterion({**terms, **weights}, sigmas=(1.0,), foreground=5.0)

    return make


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
        after, keep = lambda means: self._after(state, means), lambda: self.kept.append(state.step)
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
