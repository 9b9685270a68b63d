"""What people write for words, dates and files, brought into the one form that QGIS takes, or refused with the choices.

QGIS itself says no more than "Incorrect parameter value".
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches

from qgis.core import (
    Qgis,
    QgsProcessingParameterDateTime,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
)
from qgis.PyQt.QtCore import QDate, QDateTime, Qt

from .errors import JobFailed


def refuse_unknown(definitions: Iterable[QgsProcessingParameterDefinition], parameters: dict) -> None:
    """QGIS ignores what it does not know, and the run goes on without what was meant.

    Raises:
        JobFailed: A name is that of no parameter (JobError).
    """
    names = [definition.name() for definition in definitions]
    for unknown in [name for name in parameters if name not in names]:
        near = get_close_matches(str(unknown).upper(), names, 1, 0.5)
        hint = f"Is {near[0]} meant?" if near else ""
        raise JobFailed("JobError", f"There is no parameter {unknown}.", f"{hint} It takes {', '.join(names)}.".strip())


def in_the_form_of_qgis(definitions: Iterable[QgsProcessingParameterDefinition], parameters: dict) -> dict:
    """The parameters of a run with words, dates and files in the form that QGIS takes.

    Args:
        definitions: The algorithm's parameters.
        parameters: What was given; anything but plain values is left as it is.

    Raises:
        JobFailed: A word is not on offer, a date is none, a file does not exist (JobError).
    """
    formed = dict(parameters)
    for definition in definitions:
        name = definition.name()
        if name not in parameters:
            continue
        if isinstance(definition, QgsProcessingParameterEnum) and definition.usesStaticStrings():
            formed[name] = _words(definition, parameters[name])
        elif isinstance(definition, QgsProcessingParameterDateTime):
            formed[name] = _date(name, parameters[name])
        elif isinstance(definition, QgsProcessingParameterFile):
            formed[name] = _file(definition, parameters[name])
    return formed


def _words(definition: QgsProcessingParameterEnum, value):
    """Options in their own spelling; spaces around a word do not matter, nor its case where no two options share it."""
    if isinstance(value, (list, tuple)):
        given = [str(word).strip() for word in value]
    elif isinstance(value, (str, int)):
        given = [word.strip() for word in str(value).split(",")]
    else:
        return value
    given = [word for word in given if word]
    name, options = definition.name(), definition.options()
    if not given and definition.flags() & Qgis.ProcessingParameterFlag.Optional:
        return [] if definition.allowMultiple() else None
    if not given:
        raise JobFailed("JobError", f"{name} is empty.", f"Choose from {', '.join(options)}.")
    alike = Counter(option.lower() for option in options)
    spelling = {option.lower(): option for option in options if alike[option.lower()] == 1}
    chosen = [word if word in options else spelling.get(word.lower(), "") for word in given]
    unknown = [f'"{word}"' for word, option in zip(given, chosen) if not option]
    if unknown:
        raise JobFailed("JobError", f"{name} cannot be {', '.join(unknown)}.", f"Choose from {', '.join(options)}.")
    if definition.allowMultiple():
        return chosen
    if len(chosen) > 1:
        raise JobFailed("JobError", f"{name} takes one word, not {', '.join(chosen)}.", "Choose one of them.")
    return chosen[0]


def _date(name: str, value):
    """A date as 2018-05-31; what is no text is QGIS's to judge."""
    if not isinstance(value, str) or not value.strip():
        return value
    date = QDate.fromString(value.strip(), "yyyy-M-d")
    if date.isValid():
        return date.toString(Qt.DateFormat.ISODate)
    if QDateTime.fromString(value.strip(), Qt.DateFormat.ISODate).isValid():
        return value.strip()
    raise JobFailed("JobError", f'{name} is not a date: "{value}".', "Write it as 2018-05-31.")


def _file(definition: QgsProcessingParameterFile, value):
    """An absolute path of what exists."""
    if not isinstance(value, str) or not value.strip():
        return value
    path = os.path.abspath(os.path.expanduser(value.strip()))
    is_folder = definition.behavior() == Qgis.ProcessingFileParameterBehavior.Folder
    if not (os.path.isdir(path) if is_folder else os.path.isfile(path)):
        kind = "folder" if is_folder else "file"
        raise JobFailed("JobError", f"{definition.name()}: there is no {kind} {path}.", "Check its spelling.")
    return path
