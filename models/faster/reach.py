"""How far a network really sees: theory counts every path through the layers, most of which carry nothing.

A bundle may state what was measured on a real image, as `cropmap:reach_pixels`; maps are then made with no more around.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.network import Network


@torch.inference_mode()
def measured_reach(network: Network, x: Tensor, dates: Tensor, valid: Tensor, tolerance: float = 5e-4) -> int:
    """The least surroundings of a block that give each of its pixels the probabilities that all surroundings give.

    What it tells holds for images like the one given. Its block is what lies `halo` pixels from the image's edge: there
    a corner has lost both of its sides.

    Args:
        network: A dense network, or its fast form.
        x: Zero where not valid, shape (B, T, C, H, W), of what its `logits` take.
        dates: Shape (B, T).
        valid: Shape (B, T, H, W).
        tolerance: By how much probabilities may differ.

    Returns:
        Pixels on each side, a multiple of the stride; `halo` if no less will do.

    Raises:
        ValueError: The image is too small to tell, or a patch network has no surroundings.
    """
    halo, stride = network.halo, int(network.stride)
    height, width = x.shape[-2:]
    if network.kind != "dense":
        raise ValueError("a patch network sees its patches; expected one that classifies every pixel")
    if min(height, width) < 2 * halo + stride:
        raise ValueError(
            f"the image has {height} x {width} pixels; expected at least {2 * halo + stride} along each axis"
        )

    def probabilities(around: int) -> Tensor:
        rows, columns = (slice(halo - around, edge - halo + around) for edge in (height, width))
        logits = network.logits(x[..., rows, columns], dates, valid[..., rows, columns])
        inside = (..., slice(around, logits.shape[2] - around), slice(around, logits.shape[3] - around))
        return logits.float().softmax(dim=1)[inside]

    expected, reach = probabilities(halo), halo
    observed = valid.any(dim=1, keepdim=True)[..., halo : height - halo, halo : width - halo]
    while reach > 0:
        difference = (probabilities(reach - stride) - expected).abs() * observed
        if difference.max() > tolerance:
            break
        reach -= stride
    return reach
