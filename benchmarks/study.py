"""Train the same student in several ways, for as many steps and with several seeds, and set the scores side by side.

    python benchmarks/study.py --study benchmarks/studies/distillation.yaml --jobs 2 --out runs/distillation
    python benchmarks/study.py --study benchmarks/studies/ablation.yaml --seeds "[0]" --jobs 2 --out runs/ablation

A study is a YAML file: `common`, options of `rtpe train` that all ways share; `ways`, by name what each has besides;
`score`, options of `rtpe validate`, to which a way may add a `score` of its own. All ways of a seed are trained before
the next seed begins. What is there already is not trained again, and a training that was killed goes on; each writes
what it says to a log beside its folder.

    AP       mean over the seeds          low, high  the worst and the best of them
    to first mean difference of AP to the first way, seed by seed
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import yaml
from tqdm import tqdm

from rtpe.cli import status
from rtpe.errors import UserError
from rtpe.report.log import HISTORY, read_history
from rtpe.report.table import print_table, write_json
from rtpe.settings.limits import Checked
from rtpe.settings.parse import parse_settings
from rtpe.training.study import Training, rtpe, run_trainings, words

PARTS = {"common", "ways", "score"}
COLUMNS = ("way", "AP", "low", "high", "to first", "AP50", "PCK@0.1 box", "seeds", "steps")

Options = Mapping[str, object]


@dataclass(frozen=True)
class Study(Checked):
    """Compare ways to train a student.

    Attributes:
        study: the YAML file that names the ways.
        seeds: of the trainings of each way.
        ways: only these; empty for all.
        jobs: trainings at once.
        out: folder of the runs; the table goes there too, as scores.json.
    """

    study: str = ""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    ways: list[str] = field(default_factory=list)
    jobs: int = 1
    out: str = "runs/study"


def run(settings: Study) -> list[dict]:
    """Train and score what is not there yet; print the table, write the rows; returns them."""
    study, out = read_study(Path(settings.study)), Path(settings.out)
    if unknown := set(settings.ways) - set(study["ways"]):
        raise UserError(f"ways: no {min(unknown)!r} in {settings.study}: choose from {', '.join(study['ways'])}")
    ways = {name: own for name, own in study["ways"].items() if name in settings.ways or not settings.ways}
    trainings, score = [], {}
    for seed in settings.seeds:
        for name, own in ways.items():
            options = {**study["common"], **(own or {}), "train.seed": seed}
            score[f"{name}-{seed}"] = {**study["score"], **options.pop("score", {})}
            trainings.append(Training(f"{name}-{seed}", options, out))
    runs = run_trainings(trainings, lambda training: scored(training, score[training.name]), settings.jobs)
    scores = {name: runs[place :: len(ways)] for place, name in enumerate(ways)}
    rows = table(scores)
    print_table(rows, COLUMNS)
    write_json([{**row, "runs": scores[row["way"]]} for row in rows], out / "scores.json")
    return rows


def read_study(path: Path) -> dict[str, dict]:
    """The parts of a study file.

    Raises:
        ValueError: if it is none.
    """
    if not path.is_file():
        raise UserError(f"study {path}: no such file: pass --study FILE.yaml")
    said = yaml.safe_load(path.read_text())
    if not isinstance(said, dict) or set(said) != PARTS or not all(isinstance(part, dict) for part in said.values()):
        raise UserError(f"study {path}: expected {', '.join(sorted(PARTS))}, each with entries")
    return said


def scored(training: Training, score: Options) -> dict:
    """The scores of a training that has ended."""
    file = training.folder / "scores.json"
    weights = training.folder / "best.safetensors"
    rtpe(["validate", f"--weights={weights}", *words(score), f"--out={file}"], training.log)
    (row,) = json.loads(file.read_text())
    row = {**row, "steps": read_history(training.folder / HISTORY)[-1]["step"]}
    with tqdm.external_write_mode():
        print(f"{training.name}: AP {row['AP']:.3f} after {row['steps']} steps", flush=True)
    return row


def table(scores: Mapping[str, Sequence[dict]]) -> list[dict]:
    """A row for each way: means over its seeds, and how far they lie apart."""
    first = next(iter(scores.values()))
    rows = []
    for name, runs in scores.items():
        ap = [run["AP"] for run in runs]
        steps = {run["steps"] for run in runs}
        rows.append({
            "way": name, "AP": mean(ap), "low": min(ap), "high": max(ap),
            "to first": mean(run["AP"] - other["AP"] for run, other in zip(runs, first)),
            **{key: mean(run[key] for run in runs) for key in ("AP50", "PCK@0.1 box")},
            "seeds": len(runs), "steps": steps.pop() if len(steps) == 1 else None,
        })  # fmt: skip
    return rows


if __name__ == "__main__":
    sys.exit(status(lambda: run(parse_settings(Study, None, "benchmarks/study.py"))))
