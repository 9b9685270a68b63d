"""The command that makes a run again, for its manifest."""

from __future__ import annotations

import shlex

from .values import Values


def replay_command(values: Values, named: dict) -> str:
    """A `qgis_process` command of a run's algorithm and parameters; nothing where there is none.

    A selection of features is not part of it, and a layer that is in memory alone has no name to be called by.

    Args:
        values: Of the run.
        named: Files by their parameters, in place of what was given: layers of the project, and outputs that QGIS chose
            a place for, so that the command names what it reads and writes.
    """
    files = {name: path for name, path in named.items() if path}
    command, is_complete = values.algorithm.asQgisProcessCommand({**values.parameters, **files}, values.context)
    in_memory = any(word.partition("=")[2].startswith("memory:") for word in shlex.split(command))
    return command if is_complete and not in_memory else ""
