"""How loops over pixels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compiles a function when it is first called, and keeps the machine code for later processes.

    It is kept beside the source, else in the user's cache folder, else nowhere: then each process compiles its own.
    NUMBA_CACHE_DIR names another folder. A change of `compiled` functions in one module is not noticed by the kept
    code of those in other modules that call them.
    """
    kept: Any
    try:  # error_model: a check of each division would keep loops from being vectorised
        kept = numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no folder to keep it in can be written to
        kept = numba.njit(nogil=True, error_model="numpy")(function)
    compiled_function: _Function = kept
    return compiled_function
