"""What an annotation file holds, read and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from rtpe.data.labels.packed import PackedPeople
from rtpe.data.labels.people import Image, Person
from rtpe.skeleton import Skeleton


@dataclass(frozen=True)
class Labels:
    """The images and people of an annotation file, read and checked.

    Attributes:
        file: where they come from, for messages.
        skeleton: the joints that are labelled.
        images: by image id, ascending.
        people: by image id, of every image; crowds and people without labelled joints among them.
        category: the number of people's category in the file, for results in COCO's format.
        notes: what was left out, estimated or reordered, a sentence each, with its count.
    """

    file: str
    skeleton: Skeleton
    images: Mapping[int, Image]
    people: Mapping[int, list[Person]]
    category: int = 1
    notes: tuple[str, ...] = ()

    @property
    def boxes_digest(self) -> str:
        """Of all people's boxes, 16 hexadecimal digits."""
        found = blake2b(digest_size=8)
        for number in self.images:
            found.update(f"{number}".encode())
            for person in self.people[number]:
                if person.labelled:
                    found.update(person.box_xywh.astype("<f8").tobytes())
        return found.hexdigest()

    def labelled(self, ids: Iterable[int]) -> int:
        """How many people with labelled joints there are on these images."""
        if isinstance(self.people, PackedPeople):
            return self.people.labelled(ids)
        return sum(person.labelled for number in ids for person in self.people[number])
