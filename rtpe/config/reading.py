"""Settings from command lines and files, and into files."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentParser

Settings = TypeVar("Settings")


class UserError(ValueError):
    """Something the user can mend: one line, exit status 2."""


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
        parsed = parser.instantiate(parser.parse_args(arguments))
    except Exception as error:  # jsonargparse raises several kinds, some of many lines
        raise UserError(f"{prog}: {' '.join(str(error).split())}") from error
    return command(**{f.name: parsed[f.name] for f in dataclasses.fields(command)})


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
