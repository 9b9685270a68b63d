"""Placeholder for merging."""

from __future__ import annotations

from typing import Any

from models.network import Network


def fit_trees(*args: Any, **settings: Any) -> Network:
    raise NotImplementedError
