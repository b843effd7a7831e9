"""Recipes: YAML files of settings, looked at before they are parsed, so that what is wrong names the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import get_type_hints

import yaml

from rtpe.errors import UserError

FOREIGN = ("class_path", "init_args")  # jsonargparse would import what they name


def recipes(arguments: Sequence[str]) -> list[str]:
    """The files that `--config` names, in their order; settings that are typed as {...} are none."""
    following = [after for word, after in pairwise(arguments) if word == "--config"]
    joined = [word.partition("=")[2] for word in arguments if word.startswith("--config=")]
    return [name for name in [*following, *joined] if not name.lstrip().startswith("{")]


def refuse_misread(path: str, command: type) -> None:
    """Look whether a file is a recipe of the command.

    Raises:
        UserError: if it is missing, empty, no UTF-8, no YAML, or no mapping; or if a name is there twice.
    """
    root = _composed(path)
    if not isinstance(root, yaml.MappingNode):
        got = "nothing" if root is None else _told(root)
        raise UserError(f"recipe {path}: expected settings by name, such as train: {{batch: 32}}, got {got}")
    seen: set[str] = set()
    for name in _names(root):
        if name in seen:
            raise UserError(f"recipe {path}: {name} is there twice: keep one of them")
        if name.rpartition(".")[2] in FOREIGN:
            raise UserError(f"recipe {path}: {name}: no such setting: leave it out")
        seen.add(name)
    for key, value in root.value:
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(f"recipe {path}: expected names of settings, got a list for one: correct it")
        if dataclasses.is_dataclass(get_type_hints(command).get(key.value)) and not isinstance(value, yaml.MappingNode):
            raise UserError(f"recipe {path}: {key.value}: expected settings by name, got {_told(value)}")


def _composed(path: str) -> yaml.Node | None:
    if not Path(path).is_file():
        what = "a folder" if path and Path(path).is_dir() else "no such file"
        raise UserError(f"recipe {path}: {what}: pass --config FILE.yaml")
    try:
        return yaml.compose(Path(path).read_bytes().decode("utf-8-sig"), yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise UserError(f"recipe {path}: not UTF-8 text: save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise UserError(f"recipe {path}: not YAML ({' '.join(str(error).split())}): correct it") from error


def _names(node: yaml.Node, prefix: str = "") -> Iterator[str]:
    """The dotted name of every key, at any depth, however it is spelled."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{prefix}{_told(key)}"
            if key.tag != "tag:yaml.org,2002:merge":  # << may stand there several times, and gives way to others
                yield name
                yield from _names(value, f"{name}.")
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            yield from _names(value, f"{prefix}{place}.")


def _told(node: yaml.Node) -> str:
    return node.value or "nothing" if isinstance(node, yaml.ScalarNode) else "a list"
