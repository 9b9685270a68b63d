"""Ensemble: the mean of what several networks or trees say, each calibrated by itself.

Members that erred independently would err together less often (Dietterich 2000, Ensemble Methods in Machine Learning).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.network import Network, require_integers

LEAST_PROBABILITY = 1e-7
"""Mean probabilities below it are taken for it, so that their logarithm is finite."""


@dataclass(frozen=True)
class EnsembleParameters:
    """Hyper-parameters of `Ensemble`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    members: tuple[Mapping[str, Any], ...]
    """Of each its `architecture`, its `hyper_parameters` but channels and classes, and the `temperature` that its
    logits are divided by."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes)
        if not self.members:
            raise ValueError("members is empty; expected at least one network")
        for member in self.members:
            if not isinstance(member, Mapping) or set(member) != {"architecture", "hyper_parameters", "temperature"}:
                raise ValueError(f"a member is {member!r}; expected architecture, hyper_parameters and temperature")
            temperature = member["temperature"]
            if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or temperature <= 0:
                raise ValueError(f"temperature is {temperature!r}; expected a number above 0")


class Ensemble(Network):
    """Members that classify every pixel; their probabilities are averaged."""

    kind = "dense"

    def __init__(self, parameters: EnsembleParameters) -> None:
        from models.registry import build  # it knows the ensemble too

        super().__init__()
        self.channels = parameters.channels
        self.classes = parameters.classes
        own = {"channels": parameters.channels, "classes": parameters.classes}
        members = [build(each["architecture"], **{**each["hyper_parameters"], **own}) for each in parameters.members]
        for member, each in zip(members, parameters.members, strict=True):
            if member.kind != "dense":
                raise ValueError(f"{each['architecture']} gives a patch one class; expected one for every pixel")
        self.members = nn.ModuleList(members)
        self.temperatures = tuple(float(each["temperature"]) for each in parameters.members)
        self.stride = math.lcm(*(int(member.stride) for member in members))
        self.receptive_radius = max(int(member.receptive_radius) for member in members)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        mean = torch.zeros((), device=x.device)
        for member, temperature in zip(self._networks(), self.temperatures, strict=True):
            mean = mean + torch.softmax(member.logits(x, dates, valid).float() / temperature, dim=1)
        return (mean / len(self.temperatures)).clamp(min=LEAST_PROBABILITY).log()  # (B, K, H, W)

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """Embeddings of all members, one behind the other along the channels."""
        return torch.cat([member.embed(x, dates, valid) for member in self._networks()], dim=1)

    def _networks(self) -> list[Network]:
        return [member for member in self.members if isinstance(member, Network)]
