"""Ensembles: members one after the other for the same pixels, or image by image where one of them sees neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from models.ensemble import Ensemble
from models.faster.network import FasterNetwork
from models.faster.pixel_network import FasterPixelNetwork
from models.faster.regions import Region
from models.faster.series import Series


class FasterPixelEnsemble(FasterPixelNetwork):
    """The logits of an `Ensemble` whose members all see pixels alone."""

    original: Ensemble

    def __init__(self, network: Ensemble, members: Sequence[FasterPixelNetwork], precision: torch.dtype) -> None:
        super().__init__(network, precision)
        self.width = max(member.width for member in members)
        self.members = torch.nn.ModuleList(members)

    @property
    def unseen(self) -> Tensor:
        return _together(self.original, [member.unseen.unsqueeze(0) for member in self._networks()]).squeeze(0)

    def classify_series(self, series: Series) -> Tensor:
        return _together(self.original, [member.classify_series(series) for member in self._networks()])

    def _networks(self) -> list[FasterPixelNetwork]:
        return [member for member in self.members if isinstance(member, FasterPixelNetwork)]


class FasterEnsemble(FasterNetwork):
    """The logits of an `Ensemble` of any members."""

    original: Ensemble

    def __init__(self, network: Ensemble, members: Sequence[FasterNetwork], precision: torch.dtype) -> None:
        super().__init__(network, precision)
        self.members = torch.nn.ModuleList(members)

    def logits_inside(self, x: Tensor, dates: Tensor, valid: Tensor, inside: Region) -> Tensor:
        said = [
            member.logits_inside(x, dates, valid, inside).movedim(1, -1)
            for member in self.members
            if isinstance(member, FasterNetwork)
        ]
        return _together(self.original, said).movedim(-1, 1)  # (B, K, rows, columns)


def _together(ensemble: Ensemble, logits: Iterable[Tensor]) -> Tensor:
    """The ensemble's logits, of those of its members, both of shape (..., K)."""
    pairs = zip(logits, ensemble.temperatures, strict=True)
    return ensemble.together(torch.stack([torch.softmax(each / heat, dim=-1) for each, heat in pairs], dim=-2))
