"""Settings in YAML, in recipes and on command lines, looked at before they are parsed.

What is wrong names the file; and what jsonargparse would take for a class or for another file never reaches it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from rtpe.errors import UserError
from rtpe.files import shipped_names
from rtpe.plain import read_regular, yaml_node

FOREIGN = ("class_path", "init_args", "dict_kwargs", "__path__")  # jsonargparse would import what they name


def recipes(arguments: Sequence[str]) -> list[str]:
    """The files that `--config` names, in their order; settings that are typed as {...} are none."""
    named = [value for name, value in typed_settings(arguments) if name == "config"]
    return [name for name in named if not name.lstrip().startswith("{")]


def refuse_misread(path: str, command: type) -> None:
    """Look whether a file is a recipe of the command.

    Raises:
        UserError: if it is missing, empty, no UTF-8, no YAML or no mapping, or a name is there twice or names code.
    """
    _refuse(f"recipe {path}", _text(path), command)


def refuse_typed(arguments: Sequence[str], command: type, prog: str) -> None:
    """Look whether the values on a command line are settings, and no names of classes or of files of settings.

    Raises:
        UserError: for the first one that is not.
    """
    for name, value in typed_settings(arguments):
        path = name.rstrip("+").split(".")
        if not set(path).isdisjoint(FOREIGN):
            raise UserError(f"{prog}: {name}: no such setting: leave it out")
        kind = _kind(command, path)
        if name == "config" and value.lstrip().startswith("{"):
            _refuse("--config", value, command)
        elif _of_settings(kind):
            one = name.endswith("+") and not value.lstrip().startswith("[")  # --more+ takes one, or several
            _refuse(f"--{name}", value, get_args(kind)[0] if one else kind)


def _refuse(where: str, text: str, kind: Any) -> None:
    """Look whether a text holds settings of that kind."""
    try:
        root = yaml_node(text)
    except ValueError as error:
        raise UserError(f"{where}: not YAML ({error}): correct it") from error
    if root is None or (where.startswith("recipe ") and not isinstance(root, yaml.MappingNode)):
        got = "nothing" if root is None else _told(root)
        raise UserError(f"{where}: expected settings by name, such as train: {{batch: 32}}, got {got}")
    seen: set[str] = set()
    for name in _names(root):
        if name in seen:
            raise UserError(f"{where}: {name} is there twice: keep one of them")
        if name.rpartition(".")[2] in FOREIGN:
            raise UserError(f"{where}: {name}: no such setting: leave it out")
        seen.add(name)
    _refuse_misshapen(where, root, kind)


def _refuse_misshapen(where: str, node: yaml.Node, kind: Any, name: str = "") -> None:
    """Look whether settings by name are where they should be: jsonargparse takes a text for a class or a file."""
    if not _of_settings(kind):
        return
    if not isinstance(node, yaml.SequenceNode if get_origin(kind) is list else yaml.MappingNode):
        want = "a list of settings by name" if get_origin(kind) is list else "settings by name"
        raise UserError(f"{where}: {name}{': ' if name else ''}expected {want}, got {_told(node)}")
    if get_origin(kind) is list:
        for place, each in enumerate(node.value):
            _refuse_misshapen(where, each, get_args(kind)[0], f"{name}.{place}".lstrip("."))
    for key, value in node.value if dataclasses.is_dataclass(kind) else []:
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(f"{where}: expected names of settings, got a list for one: correct it")
        inner = f"{name}.{key.value}".lstrip(".")
        if key.value not in get_type_hints(kind) and not key.tag.endswith(":merge"):
            raise UserError(f"{where}: {inner}: no such setting: see --help")
        _refuse_misshapen(where, value, _kind(kind, [key.value]), inner)


def _of_settings(kind: Any) -> bool:
    """Whether a setting is settings itself, a list of them, or a mapping of plain values."""
    return dataclasses.is_dataclass(kind) or get_origin(kind) is dict or any(map(_of_settings, get_args(kind)[:1]))


def _kind(command: Any, path: list[str]) -> Any:
    """The type of a setting; None if there is none."""
    for name in path:
        command = get_type_hints(command).get(name) if dataclasses.is_dataclass(command) else None
    return command


def typed_settings(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and value of the settings on a command line, `--name value` or `--name=value`."""
    for place, word in enumerate(arguments):
        name, joined, value = word.partition("=")
        if word.startswith("--") and (joined or arguments[place + 1 :]):
            yield name[2:], value if joined else arguments[place + 1]


def _text(path: str) -> str:
    if not Path(path).is_file():
        what = "a folder" if path and Path(path).is_dir() else "no such file"
        known = f", or one of {', '.join(shipped_names())}" if re.fullmatch(r"[\w-]+", path) else ""
        raise UserError(f"recipe {path}: {what}: pass --config FILE.yaml{known}")
    try:
        return read_regular(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"recipe {path}: not UTF-8 text: save it as UTF-8") from error


def _names(node: yaml.Node | None, prefix: str = "") -> Iterator[str]:
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
    if isinstance(node, yaml.ScalarNode):
        return node.value or "nothing"
    return "a list" if isinstance(node, yaml.SequenceNode) else "settings by name"
