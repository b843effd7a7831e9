"""Plain values from files: texts, numbers, lists and mappings, of which nothing is made, imported or run.

YAML and JSON are read here alone, so that a small file can neither fill the memory nor keep a reader busy for ever.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

VALUES = 100_000  # of a YAML file, its aliases written out: the largest recipe has some hundred
NESTED = "nested too deep"


def read_regular(path: str | Path, most: int = -1) -> bytes:
    """The bytes of a regular file, or of what a link leads to.

    Args:
        most: only the first so many; all by default.

    Raises:
        OSError: if there is none; a pipe or a device, which may never end, is refused without waiting for it.
    """
    with open(path, "rb", opener=_regular) as file:
        return file.read(most)


def read_json(path: str | Path, encoding: str | None = None) -> Any:
    """What a JSON file holds; in UTF-8, 16 or 32 if no encoding is given.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no JSON.
    """
    raw = read_regular(path)
    try:
        return json.loads(raw if encoding is None else raw.decode(encoding))
    except RecursionError as error:
        raise ValueError(NESTED) from error


def yaml_node(text: str) -> yaml.Node | None:
    """A YAML text as nodes; None if it is empty.

    Raises:
        ValueError: if it is no YAML, or a mapping or list holds itself, or aliases make very many values of few.
    """
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        if root is not None and _written_out(root, {}) > VALUES:
            raise ValueError(f"its aliases stand for more than {VALUES} values")
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError(NESTED) from error
    return root


def yaml_value(text: str) -> Any:
    """What a YAML text holds.

    Raises:
        ValueError: see `yaml_node`; and if a value is not of the form that its tag promises.
    """
    yaml_node(text)
    try:
        return yaml.safe_load(text)
    except Exception as error:  # of dates, numbers and tags it raises whatever their constructors do
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def _regular(path: str, flags: int) -> int:
    """An open file of the kind that ends; a pipe would be waited for."""
    opened = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = os.fstat(opened).st_mode
    if not stat.S_ISREG(kind):
        os.close(opened)
        number = errno.EISDIR if stat.S_ISDIR(kind) else errno.EINVAL
        raise OSError(number, os.strerror(number) if stat.S_ISDIR(kind) else "not a regular file", path)
    return opened


def _written_out(node: yaml.Node, counts: dict[int, int | None]) -> int:
    """How many values a node stands for, each alias counted as what it stands for.

    Args:
        counts: of the nodes that were met before; None of those that are being counted.
    """
    if id(node) not in counts:
        counts[id(node)] = None
        within = [each for pair in node.value for each in pair] if isinstance(node, yaml.MappingNode) else node.value
        inner = [] if isinstance(node, yaml.ScalarNode) else within
        counts[id(node)] = 1 + sum(_written_out(each, counts) for each in inner)
    if counts[id(node)] is None:
        raise ValueError("a mapping or list in it holds itself")
    return counts[id(node)]
