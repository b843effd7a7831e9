"""Score teachers, students and caches by the same OKS and PCK evaluation, a row of a table each."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rtpe.data.load import Images, open_dataset
from rtpe.data.readable import few_predicted
from rtpe.device import choose_device
from rtpe.errors import UserError
from rtpe.evaluation.bounds import oracle_people
from rtpe.evaluation.candidates import Candidate, alone, candidates
from rtpe.evaluation.distance import THRESHOLDS
from rtpe.evaluation.evaluate import require_labels
from rtpe.evaluation.matching import joint_scores, match_people
from rtpe.evaluation.score import in_order, labelled_joints, results_of, score_results
from rtpe.evaluation.settings import Validate
from rtpe.report.table import print_table, write_json
from rtpe.shortages import named_shortages

FAILURES = (UserError, OSError)  # as of a whole command
COSTS = ("Mparams", "GMACs", "ms", "images")


@dataclass(frozen=True)
class Row:
    """A row of the table, and what is written beside it.

    Attributes:
        name: who speaks.
        item: as it was typed.
        oracle: the kind of the bound, if it is one and no score.
        values: scores, costs and counts by the names of their columns.
        results: in COCO's format.
        joints: the table by joint.
        skipped: why an image was not seen, one line each.
        error: why it was not scored.
    """

    name: str
    item: str = ""
    oracle: str = ""
    values: dict[str, object] = field(default_factory=dict)
    results: list[dict] = field(default_factory=list)
    joints: list[dict] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    error: str = ""

    def as_json(self) -> dict[str, object]:
        if self.error:
            return {"name": self.name, "error": self.error}
        bound = {"name": f"{self.name}: oracle {self.oracle}", "oracle": self.oracle}
        return {**(bound if self.oracle else {"name": self.name}), **self.values}


def validate(settings: Validate) -> list[dict]:
    """Print the table of scores, write it as JSON, and the results in COCO's format beside it; returns the rows.

    Raises:
        UserError: if nothing can be scored, or of several something could not; the others are then printed.
    """
    if settings.compare and (settings.weights or settings.teacher.weights or settings.cache.path):
        raise UserError("compare: names all that is scored: name weights and caches there, and nowhere else")
    choose_device(settings.device)  # before any work
    if settings.out and Path(settings.out).is_dir():
        raise UserError(f"out {settings.out}: is a folder: pass --out FILE.json")
    images = _labelled_images(settings)
    rows: list[Row] = []
    for item in settings.compare or [""]:
        try:
            with named_shortages("a smaller --teacher.batch or --teacher.size"):
                for row in _rows(alone(item, settings) if item else settings, images):
                    row = replace(row, name=_unique(row.name, item, rows), item=item)
                    rows.append(_without_results(row, settings.out))
        except FAILURES as error:
            if not settings.compare:
                raise
            rows.append(Row(item, item, error=" ".join(str(error).split())))
        _write(rows, settings.out)  # what was scored stays if the rest is stopped
    _show(rows, settings.score.pck)
    failed = [row.name for row in rows if row.error]
    if failed:
        raise UserError(f"compare: {len(failed)} of {len(settings.compare)} not scored: {', '.join(failed)}")
    return [row.as_json() for row in rows]


def _labelled_images(settings: Validate) -> Images:
    """The images, checked before hours have passed to be labelled, in the lengths that are asked for."""
    images = open_dataset(settings.data)
    require_labels(images, settings.data.split)
    there = {name.split()[-1] for name in score_results([], images) if name.startswith("PCK@")}
    if settings.score.pck not in there:
        asked = f"score.pck {settings.score.pck}"
        raise UserError(f"{asked}: these labels do not have it: choose from {', '.join(sorted(there))}")
    return images


def _rows(settings: Validate, images: Images) -> Iterator[Row]:
    """The rows of one network or cache."""
    skipped: list[str] = []
    for candidate in candidates(settings, images, skipped):
        for oracle, results in _results(candidate, settings, images).items():
            counts = {"images": len(images), "skipped": len(set(skipped))}
            row = Row(candidate.name, oracle=oracle, results=results, skipped=sorted(set(skipped)))
            values = {**score_results(results, images, settings.score.engine), **counts}
            if oracle:
                yield replace(row, values=values)
            else:
                joints = _joints(results, settings, images) if settings.per_joint else []
                yield replace(row, values={**values, **candidate.cost()}, joints=joints)


def _results(candidate: Candidate, settings: Validate, images: Images) -> dict[str, list[dict]]:
    """The rows of COCO's results file, under the empty name, and those of the oracles under theirs."""
    found: dict[str, list[dict]] = defaultdict(list, {"": []})
    for image_id, poses, maps in candidate.said:
        found[""] += results_of(images, image_id, poses)
        if settings.oracle and maps is not None:
            for kind, people in oracle_people(maps, images.people[image_id], settings.decode).items():
                found[kind] += results_of(images, image_id, people)
    return {kind: in_order(images, rows) for kind, rows in found.items()}


def _joints(results: list[dict], settings: Validate, images: Images) -> list[dict]:
    pck = settings.score.pck
    length = "box" if pck.startswith("readout") else pck  # those are means over people
    return joint_scores(match_people(images.labels, results, images.ids, labelled_joints(images)), length)


def _unique(name: str, item: str, rows: Sequence[Row]) -> str:
    """The name, with that of the file if another one has spoken under it before."""
    return f"{name} ({Path(item).stem})" if any(row.name == name and row.item != item for row in rows) else name


def _show(rows: Sequence[Row], pck: str) -> None:
    pcks = [f"PCK@{threshold} {pck}" for threshold in THRESHOLDS]
    skipped = ["skipped"] * any(row.skipped for row in rows)
    columns = ("name", "AP", "AP50", "AP75", "AR", *pcks, "PCKh@0.5", "APM", "APL", "EPE px", *COSTS, *skipped)
    titles = [f"  oracle {row.oracle}" if row.oracle else row.name for row in rows]
    print_table([{**row.values, "name": title} for row, title in zip(rows, titles) if not row.error], columns)
    for note in _notes(rows):
        print(note)
    for row in rows:
        if row.joints:
            print(f"\n{row.name}, by joint:")
            print_table(row.joints, tuple(row.joints[0]))


def _notes(rows: Sequence[Row]) -> Iterator[str]:
    """What must be said once below the table."""
    timed = [row for row in rows if "ms" in row.values]
    if timed:
        where, threads = timed[0].values["device"], timed[0].values["threads"]
        yield f"ms: median of an image at a time, on {where}, {threads} thread{'s' * (threads != 1)}"
    unknown = [row.name for row in timed if "GMACs" not in row.values]
    if unknown:
        yield f"parameters and GMACs are not known of {', '.join(unknown)}"
    if any(row.oracle for row in rows):
        yield "oracle: what its maps would give if the labels were known, a bound and no score"
    for row in rows:
        if row.values.get("F1", -1.0) > 0 and not row.oracle:
            best, at = row.values["F1"], row.values["F1 at"]
            yield f"{row.name}: F1 {best:.3f} at OKS .5 with rtpe predict --min_score {at:.3g}"
    if any(value == -1.0 for row in rows for value in row.values.values() if isinstance(value, float)):
        yield "-: these images hold no such person, or nothing that the score is of"
    for row in rows:
        if not row.error and (few := few_predicted(len(row.skipped), row.values["images"])):
            yield f"{row.name}: {few} were seen: the others count as images without people"
    yield from (f"skipped: {reason}" for reason in sorted({reason for row in rows for reason in row.skipped})[:5])
    yield from (f"{row.name}: not scored: {row.error}" for row in rows if row.error)


def _write(rows: Sequence[Row], out: str) -> None:
    if not out:
        return
    write_json([row.as_json() for row in rows], Path(out))
    joints = [{"name": row.name, **each} for row in rows for each in row.joints]
    if joints:
        write_json(joints, Path(out).with_suffix(".joints.json"))


def _without_results(row: Row, out: str) -> Row:
    """The row without its results, which are written, if they are to be, and many."""
    if out:
        name = re.sub(r"[^\w.@-]+", "-", str(row.as_json()["name"])).strip("-")
        write_json(row.results, Path(out).with_suffix(f".{name}.results.json"), indent=None)
    return replace(row, results=[])
