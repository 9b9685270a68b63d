"""A command's signature is its statement of parameters: jobs and command lines are checked against it."""

from __future__ import annotations

import argparse
import inspect
import math
import re
import typing
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from cropmap_core.errors import JobError

Function = Callable[..., Mapping[str, Any]]


def bind(function: Function, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Turns a job's parameters into a command's arguments.

    Args:
        function: A command; its keyword-only arguments are its parameters.
        parameters: As in the job document.

    Raises:
        JobError: A parameter is unknown, missing, or not of its kind.
    """
    known = _parameters(function)
    unknown = [name for name in parameters if name not in known]
    missing = [
        name
        for name, (_, default) in known.items()
        if default is inspect.Parameter.empty and parameters.get(name) is None
    ]
    if unknown or missing:
        said = [f"unknown: {', '.join(unknown)}"] * bool(unknown) + [f"missing: {', '.join(missing)}"] * bool(missing)
        raise JobError(f"Parameters of {function.__name__} are {'; '.join(said)}.", f"It takes {', '.join(known)}.")
    return {
        name: _convert(known[name][0], value, name) if value is not None else _default_of_none(known[name], name)
        for name, value in parameters.items()
    }


def add_arguments(parser: argparse.ArgumentParser, function: Function) -> None:
    """Adds a command's parameters to its command line."""
    documented = _documentation(function)
    for name, (annotation, default) in _parameters(function).items():
        required = default is inspect.Parameter.empty
        options: dict[str, Any] = {"dest": name, "required": required, "default": argparse.SUPPRESS}
        text = documented.get(name, "")
        if not required and default not in (None, ()):
            shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
            text += f" Default: {shown}."
        options["help"] = text.replace("%", "%%")
        if annotation is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(annotation) is tuple:
            options["nargs"] = "+"
        parser.add_argument(f"--{name.replace('_', '-')}", **options)


def _parameters(function: Function) -> dict[str, tuple[Any, Any]]:
    hints = typing.get_type_hints(function)
    return {
        name: (hints[name], parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def _default_of_none(known: tuple[Any, Any], name: str) -> Any:
    annotation, default = known
    if type(None) in typing.get_args(annotation):
        return None
    raise JobError(f"{name} is null.", f"Leave it out for its default, {default}, or give a value.")


def _convert(annotation: Any, value: Any, name: str) -> Any:
    if typing.get_origin(annotation) is tuple:
        if not isinstance(value, list | tuple):
            raise JobError(f"{name} is no list.", "Give a list.")
        return tuple(_convert(typing.get_args(annotation)[0], item, name) for item in value)
    kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
    kind = kinds[0] if kinds else annotation
    try:
        return _CONVERSIONS[kind](value)
    except (TypeError, ValueError):
        raise JobError(f"{name} is {value!r}.", f"Give {_KINDS[kind]}.") from None


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError
    return Path(value)


def _date(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(value)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(value):
        raise ValueError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(float(value)):
        raise ValueError
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


_CONVERSIONS: dict[Any, Callable[[Any], Any]] = {
    Path: _path,
    date: _date,
    int: _integer,
    float: _number,
    str: _text,
    bool: _boolean,
}
_KINDS = {
    Path: "a path",
    date: "a date like 2021-05-01",
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
}


def _documentation(function: Function) -> dict[str, str]:
    """The lines of the docstring's Args section, by parameter."""
    section = (inspect.getdoc(function) or "").partition("Args:\n")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\s+(\w+): (.+)$", section, flags=re.MULTILINE))
