"""Hybrid: several networks that see the same pixel series, trained as one.

Their embeddings stand one behind the other and one linear layer classifies them, so that each learns what the others
miss; in an ensemble each learns alone. Attention over all dates (transformer) beside a recurrence that weighs its
states (AtLSTM) is the pair by default. What DuPLO does that we do not: besides the common layer each branch has one of
its own in training, so that neither is neglected.

References:
    Xu et al. (2020), DeepCropMapping, Remote Sensing of Environment 247 (AtLSTM); Russwurm, Koerner (2020),
    Self-attention for raw optical Satellite Time Series Classification, ISPRS Journal 169 (transformer); Interdonato et
    al. (2019), DuPLO: A DUal view Point deep Learning architecture for time series classificatiOn, ISPRS Journal 149
    (two branches with one classifier).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from models.network import require_fraction, require_integers
from models.pixel_series import PixelNetwork, PixelSeries


@dataclass(frozen=True)
class HybridParameters:
    """Hyper-parameters of `Hybrid`."""

    channels: int
    """Bands and indices per date."""
    classes: int
    """Crop classes."""
    members: tuple[str | Mapping[str, Any], ...] = ("transformer", "atlstm")
    """Architectures that see each pixel's series alone: names, or of each its `architecture` and its
    `hyper_parameters` but channels and classes."""
    dropout: float = 0.1
    """Share of features dropped in training, before the last layer and in members that do not say otherwise."""

    def __post_init__(self) -> None:
        require_integers(1, channels=self.channels, classes=self.classes)
        require_fraction(dropout=self.dropout)
        if not self.members:
            raise ValueError("members is empty; expected at least one architecture")
        for member in self.members:
            if not isinstance(member, str) and (
                not isinstance(member, Mapping) or set(member) != {"architecture", "hyper_parameters"}
            ):
                raise ValueError(f"a member is {member!r}; expected a name, or architecture and hyper_parameters")


class Hybrid(PixelNetwork):
    """Members without their last layers; what they embed is classified together."""

    def __init__(self, parameters: HybridParameters) -> None:
        members = [_member(each, parameters) for each in parameters.members]
        embedding = sum(member.embedding for member in members)
        super().__init__(parameters.channels, parameters.classes, embedding, parameters.dropout)
        self.members = nn.ModuleList(members)

    def embed_series(self, series: PixelSeries) -> Tensor:
        embeddings = [member.embed_series(series) for member in self.members if isinstance(member, PixelNetwork)]
        dtype = embeddings[0].dtype  # in half precision some members end in single precision
        return torch.cat([each.to(dtype) for each in embeddings], dim=1)


def _member(member: str | Mapping[str, Any], parameters: HybridParameters) -> PixelNetwork:
    from models.registry import ARCHITECTURES, build  # it knows the hybrid too

    name = member if isinstance(member, str) else member["architecture"]
    settings = {} if isinstance(member, str) else dict(member["hyper_parameters"])
    if name in ARCHITECTURES and "dropout" in {field.name for field in fields(ARCHITECTURES[name][0])}:
        settings.setdefault("dropout", parameters.dropout)
    network = build(name, **{**settings, "channels": parameters.channels, "classes": parameters.classes})
    if not isinstance(network, PixelNetwork):
        raise ValueError(f"{name} does not see each pixel's series alone; expected an architecture that does")
    del network.classify
    return network
