"""Which category of a COCO file is people, and in which order it has their joints."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rtpe.data.labels.fields import Entry
from rtpe.errors import UserError
from rtpe.skeleton import COCO17, OPENPOSE18, Skeleton

DEFAULT = 1  # COCO's number for people, where a file lists no category
_SIDES = {"l": "left", "r": "right", "left": "left", "right": "right"}
_HEADS = {"head", "top_head", "head_top", "top_of_head"}  # CrowdPose's files and MPII's call one joint so


@dataclass(frozen=True)
class Category:
    """The category of people.

    Attributes:
        number: its id, None if the file tells annotations' categories nowhere.
        skeleton: the joints that are labelled.
        order: where each joint of that skeleton stands in the file's lists; None if they are in its order.
        names: of all categories, by id.
        numbers: of all categories of people; several where they have the same joints.
        nameless: whether the file has numbers for the joints' names.
    """

    number: int | None
    skeleton: Skeleton
    order: list[int] | None
    names: dict[int, str]
    numbers: frozenset[int | None] = frozenset()
    nameless: bool = False

    def holds(self, entry: Entry) -> bool:
        """Whether an annotation is of a person.

        Raises:
            UserError: if it is of a category that the file does not list.
        """
        if self.number is None or (entry.fields.get("category_id") is None and len(self.names) <= 1):
            return True
        number = entry.id("category_id")
        if self.names and number not in self.names:
            listed = ", ".join(f"{one} ({name})" for one, name in self.names.items())
            entry.refuse("category_id", f"a category that the file lists, {listed}")
        return number == self.number or number in self.numbers


def read_category(file: str, raw: dict[str, Any], annotations: Sequence[Entry], skeleton: Skeleton) -> Category:
    """The category of people: the one named person, else the only one with keypoints, else the only one.

    One named person that nobody with joints is of gives way to the only other one with joints. Several, none of which
    is named person, are all of people if they name the same joints.

    Raises:
        UserError: if it cannot be told, or its joints are others than the skeleton's.
    """
    listed = _listed(file, raw)
    by_number: dict[int | None, Entry] = {}
    for entry in listed:
        same = by_number.setdefault(_number(entry, len(listed)), entry)
        if same.fields != entry.fields:
            raise UserError(f"annotations {file}: categories: an id is there twice: number them apart")
    posed = Counter(entry.id("category_id") for entry in annotations if _posed(entry))
    numbers = _chosen(file, by_number, posed) if listed else [_only(file, annotations, posed)]
    number = numbers[0]
    names = {} if None in by_number else {one: str(entry.fields.get("name")) for one, entry in by_number.items()}
    joints = by_number[number].fields.get("keypoints") if listed else None
    if not joints:
        return Category(number, _by_count(annotations, skeleton), None, names, frozenset(numbers))
    if _numbered(joints):
        return Category(number, _by_count(annotations, skeleton), None, names, frozenset(numbers), nameless=True)
    labelled_as, order = _order(by_number[number], joints, skeleton)
    return Category(number, labelled_as, order, names, frozenset(numbers))


def joint_names(names: Sequence[str]) -> list[str]:
    """Names of joints in one spelling: `L-Shoulder`, `leftShoulder`, `shoulder_left` are left_shoulder.

    >>> joint_names(["L-Shoulder", "leftShoulder", "shoulder left", "Head"])
    ['left_shoulder', 'left_shoulder', 'left_shoulder', 'head_top']
    """
    return [_spelled(name) for name in names]


def _spelled(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
    words = [word for word in re.split(r"[\s_.\-]+", words) if word]
    for place in (0, -1):
        if len(words) > 1 and words[place] in _SIDES:
            words = [_SIDES[words.pop(place)], *words]
            break
    spelled = "_".join(words)
    return "head_top" if spelled in _HEADS else spelled


def _listed(file: str, raw: dict[str, Any]) -> list[Entry]:
    categories = raw.get("categories") or []
    if not isinstance(categories, list):
        raise UserError(f"annotations {file}: categories: expected a list, got {type(categories).__name__}: correct it")
    return [Entry.of(file, "category", place, one) for place, one in enumerate(categories)]


def _number(entry: Entry, count: int) -> int | None:
    """The id of a category; the only one of a file may have none."""
    return None if count == 1 and entry.fields.get("id") is None else entry.id("id")


def _posed(entry: Entry) -> bool:
    return bool(entry.fields.get("keypoints")) and entry.fields.get("category_id") is not None


def _chosen(file: str, by_number: dict[int | None, Entry], posed: Counter) -> list[int | None]:
    named = [number for number, one in by_number.items() if str(one.fields.get("name")).strip().lower() == "person"]
    with_joints = [number for number, one in by_number.items() if one.fields.get("keypoints") or posed[number]]
    if named and len(with_joints) == 1 and posed[with_joints[0]] and not any(posed[number] for number in named):
        return with_joints
    for candidates in (named, [number for number in named if number in with_joints], with_joints, list(by_number)):
        if len(candidates) == 1:
            return candidates
    joints = [by_number[number].fields.get("keypoints") for number in with_joints]
    if joints and joints[0] and not named and all(each == joints[0] for each in joints):
        return with_joints
    there = ", ".join(f"{number} ({one.fields.get('name')})" for number, one in by_number.items())
    raise UserError(f"annotations {file}: categories {there}: cannot tell which is people: name one of them person")


def _only(file: str, annotations: Sequence[Entry], posed: Counter) -> int | None:
    """The category of a file that lists none."""
    numbers = posed or Counter(
        entry.id("category_id") for entry in annotations if entry.fields.get("category_id") is not None
    )
    if len(numbers) > 1:
        raise UserError(
            f"annotations {file}: lists no categories, and has annotations of {', '.join(map(str, sorted(numbers)))}: "
            "give it categories, and name one of them person"
        )
    return next(iter(numbers), DEFAULT)


def _numbered(joints: Any) -> bool:
    """Whether the names of joints are only numbers, as some tools give them unasked: 1, 2, ... or new-point-0, ..."""
    whole = isinstance(joints, list) and all(isinstance(name, str | int) for name in joints)
    bare = [re.sub(r"^(new|key)?[-_ ]?(key)?point[-_ ]?", "", str(name).lower()) for name in joints] if whole else []
    return whole and all(name.isdecimal() for name in bare) and [int(name) for name in bare] in (
        list(range(len(bare))), list(range(1, len(bare) + 1)),
    )  # fmt: skip


def _by_count(annotations: Sequence[Entry], skeleton: Skeleton) -> Skeleton:
    """The skeleton of labels without names: the given one, or COCO's, which has all but the neck of OpenPose's."""
    lists = (entry.fields.get("keypoints") for entry in annotations)
    counts = {len(one) for one in lists if isinstance(one, list) and one}
    return COCO17 if skeleton == OPENPOSE18 and counts == {3 * len(COCO17)} else skeleton


def _order(entry: Entry, joints: Any, skeleton: Skeleton) -> tuple[Skeleton, list[int] | None]:
    """The skeleton that the names are of, and where its joints stand among them."""
    if not isinstance(joints, list) or not all(isinstance(name, str) for name in joints):
        entry.refuse("keypoints", "a list of names")
    names = joint_names(joints)
    known = {name.replace("_", ""): name for name in joint_names((*skeleton.joints, *COCO17.joints))}
    names = [known.get(name.replace("_", ""), name) for name in names]
    if skeleton == OPENPOSE18 and sorted(names) == sorted(joint_names(COCO17.joints)):
        skeleton = COCO17
    wanted = joint_names(skeleton.joints)
    if names == wanted:
        return skeleton, None
    if sorted(names) == sorted(wanted):
        return skeleton, [names.index(name) for name in wanted]
    raise UserError(
        f"annotations {entry.file}: {entry.name}: {_difference(joints, names, wanted, skeleton)}: pass --data.skeleton"
    )


def _difference(joints: Sequence[str], names: Sequence[str], wanted: Sequence[str], skeleton: Skeleton) -> str:
    if len(names) != len(wanted):
        return f"has {len(names)} keypoints, skeleton {skeleton.name} has {len(wanted)}"
    place = next(i for i, name in enumerate(names) if name not in wanted or names.count(name) > 1)
    return f"has {joints[place]} where {skeleton.name} has {skeleton.joints[place]}"
