"""Settings from command lines and files, and into files."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from rtpe.errors import UserError

Settings = TypeVar("Settings")


def parse(command: type[Settings], arguments: list[str] | None, prog: str) -> Settings:
    """Read a command's settings: defaults, then `--config` files, then what the command line says.

    Raises:
        UserError: for an unknown or ill-typed setting, by name.
    """
    said = (command.__doc__ or "").split("\n\n")[0]
    usage = f"{prog} [--config FILE] [--SETTING VALUE ...]"
    parser = ArgumentParser(prog=prog, usage=usage, description=said, exit_on_error=False)
    parser.add_argument("--config", action="config", help="a recipe, or the settings.yaml of a run")
    parser.add_class_arguments(command, nested_key=None, as_group=False)
    try:
        given = sys.argv[1:] if arguments is None else arguments
        parsed = parser.instantiate(parser.parse_args(_with_lists(given, command)))
    except Exception as error:  # jsonargparse raises several kinds, some of many lines
        raise UserError(f"{prog}: {' '.join(str(error).split())}") from error
    return command(**{f.name: parsed[f.name] for f in dataclasses.fields(command)})


def _with_lists(arguments: list[str], command: type) -> list[str]:
    """The arguments, with `--sources A B` for a list of names as `--sources ["A", "B"]`, which may be typed, too."""
    lists = {f"--{name}" for name, kind in get_type_hints(command).items() if kind == list[str]}
    joined: list[str] = []
    rest = list(arguments)
    while rest:
        joined.append(rest.pop(0))
        if joined[-1] in lists and rest and not rest[0].startswith(("[", "-")):
            end = next((place for place, word in enumerate(rest) if word.startswith("--")), len(rest))
            joined.append(json.dumps(rest[:end]))
            rest = rest[end:]
    return joined


def as_dict(settings: Any) -> dict[str, Any]:
    """Settings as plain nested values."""
    return dataclasses.asdict(settings)


def flat(settings: Any) -> dict[str, Any]:
    """Settings by their dotted names."""

    def walk(prefix: str, value: Any):
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                yield from walk(f"{prefix}.{name}" if prefix else name, inner)
        else:
            yield prefix, value

    return dict(walk("", settings if isinstance(settings, dict) else as_dict(settings)))


def save(settings: Any, path: str | Path) -> None:
    """Write settings as YAML that `--config` reads again."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(yaml.safe_dump(as_dict(settings), sort_keys=False))
    os.replace(temporary, path)
