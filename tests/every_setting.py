"""Every class of settings that a command has, and those within."""

import dataclasses
import typing

from rtpe.cli import COMMANDS, settings_class


def _within(kind):
    if dataclasses.is_dataclass(kind):
        yield kind
        for of in typing.get_type_hints(kind).values():
            yield from _within(of)
    for part in typing.get_args(kind):
        yield from _within(part)


SETTINGS = list(dict.fromkeys(each for name in COMMANDS for each in _within(settings_class(name))))
