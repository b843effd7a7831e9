"""Whether there is anything to see, asked before a network is loaded, a cache begun or a score printed."""

from __future__ import annotations

import re
from pathlib import Path

from rtpe.data.load import Images
from rtpe.errors import UserError
from rtpe.images import UnreadableImage, read_image


def require_readable(images: Images) -> None:
    """Read images until one can be read.

    Raises:
        UserError: if none can be, with the reason of the first and where its file lies instead.
    """
    first = None
    for _, _, source in images.sources():
        try:
            read_image(source)
            return
        except UnreadableImage as error:
            first = first or error
    if first is not None:
        count = len(images)
        none = f"none of {count} images can be read, the first is" if count > 1 else "its only image cannot be read:"
        raise UserError(f"data {images.root}: {none} {first}: check --data.root and file_name{_elsewhere(images)}")


def few_predicted(skipped: int, total: int) -> str:
    """What to say of results that lack most of the images; empty if they have half of them or more."""
    return f"only {total - skipped} of {total} images ({1 - skipped / total:.0%})" if 2 * skipped > total else ""


def _elsewhere(images: Images) -> str:
    """Where the first image of labelled ones lies, if its file name names another place."""
    if images.annotations is None or not len(images):
        return ""
    root, split, name = Path(images.root), images.split, images.records[0][1]
    plain = re.split(r"[\\/]", name.partition("#")[0])[-1]  # a crop has a number behind it
    places = ("images/" + split, "images", split, "", f"images/{split}/images")
    there = [path for path in (root / name, *(root / place / plain for place in places)) if path.is_file()]
    return f": {there[0]} is there" if there else ""
