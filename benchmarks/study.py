"""Train the same student in several ways, for as many steps and with several seeds, and set the scores side by side.

    python benchmarks/study.py --study benchmarks/studies/distillation.yaml --out runs/distillation
    python benchmarks/study.py --study benchmarks/studies/ablation.yaml --seeds "[0]" --out runs/ablation

A study is a YAML file: `common`, options of `rtpe train` that all ways share; `ways`, by name what each has besides;
`score`, options of `rtpe validate`, to which a way may add a `score` of its own. All ways of a seed are trained before
the next seed begins. What is there already is not trained again, and a training that was killed goes on; each writes
what it says to a log beside its folder.

    AP       mean over the seeds          low, high  the worst and the best of them
    to first mean difference of AP to the first way, seed by seed
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import yaml

from rtpe import config
from rtpe.commands.table import print_table, write_json
from rtpe.log import HISTORY, read_history

PARTS = {"common", "ways", "score"}
COLUMNS = ("way", "AP", "low", "high", "to first", "AP50", "PCK@0.1", "seeds", "steps")

Options = Mapping[str, object]


@dataclass(frozen=True)
class Study:
    """Compare ways to train a student.

    Attributes:
        study: the YAML file that names the ways.
        seeds: of the trainings of each way.
        ways: only these; empty for all.
        out: folder of the runs; the table goes there too, as scores.json.
    """

    study: str = ""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    ways: list[str] = field(default_factory=list)
    out: str = "runs/study"


def run(settings: Study) -> list[dict]:
    """Train and score what is not there yet; print the table, write the rows; returns them."""
    study, out = read_study(Path(settings.study)), Path(settings.out)
    if unknown := set(settings.ways) - set(study["ways"]):
        raise ValueError(f"ways: no {min(unknown)!r} in {settings.study}: choose from {', '.join(study['ways'])}")
    ways = {name: own for name, own in study["ways"].items() if name in settings.ways or not settings.ways}
    scores: dict[str, list[dict]] = {name: [] for name in ways}
    for seed in settings.seeds:
        for name, own in ways.items():
            options = {**study["common"], **(own or {}), "train.seed": seed}
            score = {**study["score"], **options.pop("score", {})}
            scores[name].append(trained_and_scored(f"{name}-{seed}", options, score, out))
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
        raise ValueError(f"study {path}: no such file: pass --study FILE.yaml")
    said = yaml.safe_load(path.read_text())
    if not isinstance(said, dict) or set(said) != PARTS or not all(isinstance(part, dict) for part in said.values()):
        raise ValueError(f"study {path}: expected {', '.join(sorted(PARTS))}, each with entries")
    return said


def trained_and_scored(name: str, options: Options, score: Options, out: Path) -> dict:
    """The scores of one training, and its command; from its file if that is there.

    Raises:
        ValueError: if the file is of another command, or a command fails.
    """
    folder, file, log = out / name, out / f"{name}.json", out / f"{name}.log"
    train = ["train", *_words(options), f"--out={folder}"]
    if file.exists():
        (row,) = json.loads(file.read_text())
        if row["command"] != train:
            raise ValueError(f"run {folder}: was trained by another command: pass another --out, or remove it")
        return row
    _rtpe(train, log)
    scored = folder / "scores.json"
    _rtpe(["validate", f"--weights={folder / 'best.safetensors'}", *_words(score), f"--out={scored}"], log)
    (row,) = json.loads(scored.read_text())
    row = {**row, "command": train, "steps": read_history(folder / HISTORY)[-1]["step"]}
    write_json([row], file)
    print(f"{name}: AP {row['AP']:.3f} after {row['steps']} steps", flush=True)
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
            **{key: mean(run[key] for run in runs) for key in ("AP50", "PCK@0.1")},
            "seeds": len(runs), "steps": steps.pop() if len(steps) == 1 else None,
        })  # fmt: skip
    return rows


def _words(options: Options) -> list[str]:
    return [f"--{name}={each if isinstance(each, str) else json.dumps(each)}" for name, each in options.items()]


def _rtpe(words: Sequence[str], log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        done = subprocess.run([sys.executable, "-m", "rtpe.cli", *words], stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        raise ValueError(f"`rtpe {words[0]}` failed: {log.read_text().strip().splitlines()[-1]}: see {log}")


if __name__ == "__main__":
    try:
        run(config.parse(Study, None, "benchmarks/study.py"))
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
