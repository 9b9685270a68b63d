"""Ensemble: what several networks or trees say together, each calibrated by itself.

`mean` is the mean of their probabilities: members that erred independently would err together less often (Dietterich
2000). `stacked` corrects the mean by a multinomial logistic regression on the members' log-probabilities (Wolpert
1992): it learns whom to believe about which class. With weights of zero it is the mean, and whoever fits it draws them
towards zero, so that few samples do little harm. What Wolpert does that we do not: his regression is fitted on
predictions for all training samples, each by members that have not seen it; ours on samples that members were not
trained on, which is quicker, but of fewer samples.

`adjustment` makes classes more or less likely than they were among the training samples (Menon et al. 2021): where maps
hold more of what is no crop with a name than the samples do, that of all others.

References:
    Dietterich (2000), Ensemble Methods in Machine Learning; Wolpert (1992), Stacked Generalization, Neural Networks 5;
    Menon et al. (2021), Long-tail learning via logit adjustment, ICLR.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.network import Network, require_integers

COMBINATIONS = ("mean", "stacked")
LEAST_PROBABILITY = 1e-7
"""Mean probabilities below it are taken for it, so that their logarithm is finite."""
LEAST_STACKED = 1e-3
"""The same of a member's probabilities when they are stacked: what trees have never seen counts no more than rare."""


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
    combine: str = "mean"
    """`mean` or `stacked`."""
    adjustment: tuple[float, ...] = ()
    """Added to the logarithm of each class's probability, before a bundle's temperature divides; empty for nothing."""

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
        if self.combine not in COMBINATIONS:
            raise ValueError(f"combine is {self.combine!r}; expected {' or '.join(COMBINATIONS)}")
        numbers = all(
            isinstance(each, (int, float)) and not isinstance(each, bool) and math.isfinite(each)
            for each in self.adjustment
        )
        if not numbers or len(self.adjustment) not in (0, self.classes):
            raise ValueError(f"adjustment is {self.adjustment}; expected {self.classes} finite numbers, or none")


class Ensemble(Network):
    """Members that classify every pixel; their probabilities are averaged or stacked."""

    kind = "dense"
    adjustment: Tensor

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
        adjustment = torch.tensor(parameters.adjustment or (0.0,) * parameters.classes, dtype=torch.float32)
        self.register_buffer("adjustment", adjustment, persistent=False)
        self.stride = math.lcm(*(int(member.stride) for member in members))
        self.receptive_radius = max(int(member.receptive_radius) for member in members)
        self.correction: nn.Linear | None = None
        if parameters.combine == "stacked":
            self.correction = nn.Linear(len(members) * parameters.classes, parameters.classes)
            nn.init.zeros_(self.correction.weight)  # before it is fitted it corrects nothing
            nn.init.zeros_(self.correction.bias)

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        return self.together(self.of_members(x, dates, valid)).movedim(-1, 1)  # (B, K, H, W)

    def of_members(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """What each member says.

        Args:
            x: As `logits` gets it: zero where not valid.
            dates: As in `forward`.
            valid: As in `forward`.

        Returns:
            Calibrated probabilities, float32, shape (B, H, W, M, K).
        """
        said = [
            torch.softmax(member.logits(x, dates, valid).float() / temperature, dim=1).movedim(1, -1)
            for member, temperature in zip(self._networks(), self.temperatures, strict=True)
        ]
        return torch.stack(said, dim=-2)

    def together(self, probabilities: Tensor) -> Tensor:
        """The ensemble's logits, of what its members say.

        Args:
            probabilities: Shape (..., M, K).

        Returns:
            Shape (..., K).
        """
        mean = probabilities.mean(dim=-2).clamp(min=LEAST_PROBABILITY).log() + self.adjustment
        if self.correction is None:
            return mean
        corrected: Tensor = mean + self.correction(stacked_inputs(probabilities))
        return corrected

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """Embeddings of all members, one behind the other along the channels."""
        return torch.cat([member.embed(x, dates, valid) for member in self._networks()], dim=1)

    def _networks(self) -> list[Network]:
        return [member for member in self.members if isinstance(member, Network)]


def stacked_inputs(probabilities: Tensor) -> Tensor:
    """What the correction of a stacked ensemble is a linear function of.

    Args:
        probabilities: Shape (..., M, K).

    Returns:
        Logarithms about their mean over the classes, member by member, shape (..., M * K).
    """
    logarithms = probabilities.clamp(min=LEAST_STACKED).log()
    return (logarithms - logarithms.mean(dim=-1, keepdim=True)).flatten(-2)
