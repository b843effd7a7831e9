"""What reading a label file left out, estimated or doubted: counted entry by entry, then said in a sentence each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rtpe.data.labels.category import Category


@dataclass
class Counts:
    """How often something was met that is worth a sentence, and of what."""

    other: Counter = field(default_factory=Counter)
    unlisted: int = 0
    areas: int = 0
    implausible: int = 0
    boxes: int = 0
    turned: int = 0
    visibilities: int = 0
    contradictions: int = 0
    outside: int = 0
    corners: int = 0
    repeated: int = 0
    joined: int = 0
    twice: int = 0
    twins: int = 0
    misplaced: int = 0
    pointlike: int = 0


def sentences(file: str, category: Category, c: Counts, body_share: float) -> tuple[str, ...]:
    """Those for which there is a count."""
    other = ", ".join(f"{count} {name}" for name, count in c.other.most_common())
    counted = (
        (c.other.total(), f"left out {c.other.total()} annotations of other categories: {other}"),
        (category.order is not None, f"joints are reordered to the order of {category.skeleton.name}"),
        (category.nameless, f"joints have numbers for names: taken in the order of {category.skeleton.name}"),
        (len(category.numbers) > 1, f"people are of {len(category.numbers)} categories with the same joints"),
        (c.repeated, f"{c.repeated} images are listed twice and taken once"),
        (c.joined, f"{c.joined} images are listed under another id as well: their people are joined"),
        (c.unlisted, f"left out {c.unlisted} annotations of images that are not listed"),
        (c.twice, f"{c.twice} people are labelled twice and taken once"),
        (c.twins, f"left out {c.twins} boxes without joints, of people whose joints another annotation has"),
        (c.areas, f"estimated the area of {c.areas} people: {body_share} of their boxes"),
        (c.implausible, f"the area of {c.implausible} people contradicts their boxes: OKS is measured by the area"),
        (c.boxes, f"estimated the box of {c.boxes} people: around their joints"),
        (c.misplaced, f"the boxes of {c.misplaced} people do not hold most of their joints"),
        (c.pointlike, f"{c.pointlike} people have one labelled joint and no box: their size is taken for 1 pixel"),
        (c.turned, f"turned {c.turned} boxes of negative width or height"),
        (c.visibilities, f"{c.visibilities} joints have a visibility other than 0, 1 and 2: above 0 is labelled"),
        (
            c.corners,
            f"{c.corners} joints are labelled at 0, 0 or -1, -1, where tools put absent ones: not taken",
        ),
        (c.contradictions, f"num_keypoints of {c.contradictions} people contradicts their keypoints: the latter count"),
        (c.outside, f"{c.outside} labelled joints lie outside their images by more than its sides"),
    )
    return tuple(f"annotations {file}: {sentence}" for count, sentence in counted if count)
