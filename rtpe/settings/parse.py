"""Settings from command lines and files, and into files."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from rtpe.errors import UserError
from rtpe.files import shipped, write_file
from rtpe.settings.limits import Checked, beyond
from rtpe.settings.recipes import recipes, refuse_misread, refuse_typed, typed_settings

Settings = TypeVar("Settings")

# no value names code
set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=[])


def parse_settings(command: type[Settings], arguments: list[str] | None, prog: str) -> Settings:
    """Read a command's settings: defaults, then `--config` files, then what the command line says.

    Raises:
        UserError: for a setting that is unknown, of another type, beyond its limit or without effect, by its dotted
            name, and by that of the recipe that it is from.
    """
    parser = _parser(command, prog)
    typed = sys.argv[1:] if arguments is None else arguments
    words = _recipes_first(_with_lists(_with_flags(typed, command), command))
    refuse_typed(words, command, prog)
    of_recipe: dict[str, str] = {}
    for recipe in recipes(words):
        refuse_misread(recipe, command)
        alone = _parsed(parser, [f"--config={recipe}"], command, f"recipe {recipe}")
        of_recipe |= dict.fromkeys(beyond(command, alone.as_dict()), recipe)
    parsed = _parsed(parser, words, command, prog)
    for refusal in beyond(command, parsed.as_dict()):
        raise UserError(f"recipe {of_recipe[refusal]}: {refusal}" if refusal in of_recipe else refusal)
    made = parser.instantiate(parsed)
    settings = command(**{f.name: made[f.name] for f in dataclasses.fields(command)})
    for name, got, remedy in settings.idle():
        raise UserError(f"{name} {got}: has no effect {remedy}")
    _refuse_untyped_risks(settings, [name for name, _ in typed_settings(words)])
    return settings


def _refuse_untyped_risks(settings: Any, typed: list[str], prefix: str = "") -> None:
    """Look for what runs a program or asks the network, and stands in a file: whoever wrote it may be a stranger.

    Raises:
        UserError: for the first such setting.
    """
    for name, value, does in settings.risks():
        if not any(
            f"{each}.".startswith(f"{prefix}{name}.") or f"{prefix}{name}.".startswith(f"{each}.") for each in typed
        ):
            raise UserError(f"{prefix}{name} {value}: {does}, which no file may ask for: pass it as --{prefix}{name}")
    for each in dataclasses.fields(settings):
        if isinstance(getattr(settings, each.name), Checked):
            _refuse_untyped_risks(getattr(settings, each.name), typed, f"{prefix}{each.name}.")


def settings_of(kind: type[Settings], recipe: str = "", **values: Any) -> Settings:
    """Settings from Python: a recipe, then values by their dotted names, checked as those of a command line.

    Raises:
        UserError: see `parse_settings`.
    """
    words = [f"--config={recipe}"] if recipe else []
    words += [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()]
    return parse_settings(kind, words, "settings")


def _parser(command: type, prog: str) -> ArgumentParser:
    # of a list of settings jsonargparse itself looks up the class; nothing else may be imported
    listed = [each for kind in get_type_hints(command).values() for each in get_args(kind) if get_origin(kind) is list]
    own = [f"{each.__module__}.{each.__name__}" for each in listed if dataclasses.is_dataclass(each)]
    set_parsing_settings(import_path_allowlist=own)
    said = (command.__doc__ or "").split("\n\n")[0]
    usage = f"{prog} [--config FILE] [--SETTING VALUE ...]"
    parser = ArgumentParser(prog=prog, usage=usage, description=said, exit_on_error=False, allow_abbrev=False)
    parser.add_argument(
        "--config",
        action="config",
        help="a recipe by its name, such as student_s, or a YAML file, such as the settings.yaml of a run; paths in it "
        "start from the folder in which the command runs",
    )
    parser.add_class_arguments(command, nested_key=None, as_group=False)
    return parser


def _parsed(parser: ArgumentParser, words: list[str], command: type, source: str) -> Namespace:
    try:
        return parser.parse_args(words, env=False)  # whatever JSONARGPARSE_DEFAULT_ENV has
    except Exception as error:  # jsonargparse raises several kinds, some of many lines
        raise UserError(f"{source}: {_in_plain_words(' '.join(str(error).split()), command)}") from error


def _in_plain_words(said: str, command: type) -> str:
    """What jsonargparse says of a value, as every other message: name, want, got."""
    unknown = re.search(r"^Group '([\w.]+)' does not accept option '([^']+)'", said)
    if unknown:
        return f"{unknown[1]}.{unknown[2]}: no such setting: see --help"
    found = re.search(r'^Parser key "([\w.]+)": .*?(?:Got|Given) value: (.*)$', said)
    kind = _kind(command, found[1].split(".")) if found else None
    return f"{found[1]}: expected {_words(kind)}, got {found[2]}" if found and kind else said


def _kind(command: type, path: list[str]) -> Any:
    """The type of a setting; None if it is none of a dataclass."""
    kind = get_type_hints(command).get(path[0]) if dataclasses.is_dataclass(command) else None
    return _kind(kind, path[1:]) if kind and path[1:] else kind


def _words(kind: Any) -> str:
    of, parts = get_origin(kind), get_args(kind)
    if of is Literal:
        return f"one of {', '.join(part or 'nothing' for part in parts)}"
    if of is list:
        return f"a list, each {_words(parts[0])}"
    if of in (Union, UnionType):
        return " or ".join(map(_words, parts))
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}
    return plain.get(kind, "settings by name")


def _with_flags(arguments: list[str], command: type) -> list[str]:
    """The arguments, with `--draw=true` for `--draw` that no value follows, where that is a yes or no."""
    following = [*arguments[1:], "--"]
    return [
        f"{word}=true"
        if word.startswith("--") and "=" not in word and after.startswith("--") and _is_flag(command, word[2:])
        else word
        for word, after in zip(arguments, following)
    ]


def _is_flag(command: type, name: str) -> bool:
    return bool(name) and _kind(command, name.split(".")) is bool


def _with_lists(arguments: list[str], command: type) -> list[str]:
    """The arguments, with `--sources A B` for a list of names as `--sources ["A", "B"]`, which may be typed, too."""
    lists = {f"--{name}" for name, kind in get_type_hints(command).items() if kind == list[str]}
    joined: list[str] = []
    rest = list(arguments)
    while rest:
        joined.append(rest.pop(0))
        if joined[-1] in lists and rest and not rest[0].startswith(("[", "-")):
            end = next((place for place, word in enumerate(rest) if word.startswith("--")), len(rest))
            joined.append(f"[{', '.join(map(_quoted, rest[:end]))}]")
            rest = rest[end:]
    return joined


def _recipes_first(arguments: list[str]) -> list[str]:
    """The arguments with all of `--config` before the others, as files: what is typed counts, wherever it stands."""
    first, others, rest = [], [], list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--config":
            first += [word, *map(_recipe, rest[:1])]
            del rest[:1]
        elif word.startswith("--config="):
            first.append(f"--config={_recipe(word.removeprefix('--config='))}")
        else:
            others.append(word)
    return first + others


def _recipe(name: str) -> str:
    """The file of a recipe; settings that are typed as {...} are none."""
    found = shipped(name)
    return name if name.lstrip().startswith("{") or not found.is_file() else str(found)


def _quoted(text: str) -> str:
    """A text as YAML has it between quotes, whatever it holds: it knows no surrogate pairs, as JSON does."""
    letters = json.dumps(text, ensure_ascii=False)
    plain = (each if each.isascii() and each.isprintable() else f"\\U{ord(each):08x}" for each in letters)
    return "".join(plain)


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


def save_settings(settings: Any, path: str | Path) -> None:
    """Write settings as YAML that `--config` reads again."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, yaml.safe_dump(as_dict(settings), sort_keys=False))
