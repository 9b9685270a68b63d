"""The commands of the worker: each ties a few steps of the library to files, and says how it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

Command = Callable[..., Mapping[str, Any]]

_MODULES = {
    "runtimeinfo": "runtime",
    "scanscenes": "scan",
    "searchscenes": "search",
    "stackscenes": "prepare",
    "compositetimeseries": "prepare",
    "fillgaps": "prepare",
    "computeindices": "prepare",
    "classify": "mapping",
    "classifysamples": "tables",
    "parcelattributes": "parcels",
    "mapcrops": "mapping",
    "combinepredictions": "combining",
    "preparelabels": "labels",
    "buildtrainingset": "samples",
    "summarizesamples": "summary",
    "trainmodel": "training",
    "evaluatemodel": "evaluating",
    "exportmodel": "exporting",
}


class _Commands(Mapping[str, Command]):
    """The commands by name; a module is imported when one of its commands is asked for, for torch takes seconds."""

    def __getitem__(self, name: str) -> Command:
        command: Command = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


COMMANDS: Mapping[str, Command] = _Commands()
