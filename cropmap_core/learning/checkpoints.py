"""Checkpoints: all that training needs to go on after a kill as if nothing had happened.

Tensors by name and their description as JSON in one safetensors file; nothing in it is ever executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cropmap_core.errors import OutputError

CHECKPOINT = "checkpoint.safetensors"
_PARTS = ("network", "average", "best")

Weights = dict[str, Tensor]


@dataclass
class State:
    """How far a training has come."""

    network: Weights
    """As the last step left them."""
    average: Weights
    """Their moving average; empty where none is kept."""
    best: Weights
    """Those of the best epoch so far; empty before the first."""
    optimiser: dict[str, Any]
    """`state_dict` of AdamW."""
    epoch: int = 0
    """Epochs that are done."""
    best_epoch: int = 0
    """Number of the best one, counted from 1; 0 for none."""
    history: list[dict[str, float]] = field(default_factory=list)
    """What was measured in each epoch."""
    ended: str = ""
    """Why training ended; empty while it goes on."""


def copy_weights(module: nn.Module) -> Weights:
    """Weights and buffers of a network, on the processor."""
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def save_checkpoint(state: State, folder: Path) -> None:
    """Writes a checkpoint in place of the one before; a kill leaves the one or the other.

    Raises:
        OutputError: It cannot be written.
    """
    tensors = {f"{part}/{name}": tensor for part in _PARTS for name, tensor in getattr(state, part).items()}
    numbers: dict[str, dict[str, float]] = {}
    for parameter, values in state.optimiser["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser/{parameter}/{name}"] = value.detach().cpu()
            else:
                numbers.setdefault(str(parameter), {})[name] = value
    told = {
        "groups": state.optimiser["param_groups"],
        "numbers": numbers,
        "epoch": state.epoch,
        "best_epoch": state.best_epoch,
        "history": state.history,
        "ended": state.ended,
    }
    path, part = folder / CHECKPOINT, folder / f"{CHECKPOINT}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        contiguous = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
        save_file(contiguous, part, metadata={"training": json.dumps(told)})
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"{path} cannot be written: {error}.", "Make room on its disk, or write elsewhere."
        ) from error


def load_checkpoint(folder: Path) -> State | None:
    """Reads the checkpoint of a folder; None where there is none, or one that a full disk has cut short."""
    try:
        with safe_open(folder / CHECKPOINT, framework="pt") as file:
            told: Mapping[str, Any] = json.loads(file.metadata()["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    state: dict[int, dict[str, Any]] = {int(name): dict(values) for name, values in told["numbers"].items()}
    parts: dict[str, Weights] = {part: {} for part in _PARTS}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        if part == "optimiser":
            parameter, _, own = rest.partition("/")
            state.setdefault(int(parameter), {})[own] = tensor
        else:
            parts[part][rest] = tensor
    return State(
        **parts,
        optimiser={"state": state, "param_groups": told["groups"]},
        epoch=told["epoch"],
        best_epoch=told["best_epoch"],
        history=told["history"],
        ended=told["ended"],
    )


def on_device(weights: Weights, device: torch.device) -> Weights:
    """The same weights where they are to be used."""
    return {name: tensor.to(device) for name, tensor in weights.items()}
