"""In which precision a network computes: bfloat16 where that is faster and was seen to give the same map.

Nothing is assumed: a bundle says, as `cropmap:bfloat16` in its item.json, which share of pixels had the same class in
bfloat16 as in float32 and on what that was measured. Where it says nothing, or less than `AGREEMENT`, float32 is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from cropmap_core.errors import JobError
from cropmap_core.inference.bundle_types import Bundle

PROPERTY = "cropmap:bfloat16"
AGREEMENT = 0.998
"""Share of pixels whose class must be the same."""
PRECISIONS: Mapping[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def choose_precision(bundle: Bundle, asked: str, devices: Sequence[torch.device]) -> torch.dtype:
    """The precision of a network's arithmetic.

    Args:
        bundle: The model.
        asked: `auto`, `float32` or `bfloat16`.
        devices: All that are to compute: one map is of one precision.

    Raises:
        JobError: It is none of these.
    """
    if asked in PRECISIONS:
        return PRECISIONS[asked]
    if asked != "auto":
        raise JobError(f"PRECISION is '{asked}'.", "Choose auto, float32 or bfloat16.")
    agrees = agreement_of(bundle) >= AGREEMENT and all(computes_in_bfloat16(device) for device in devices)
    return torch.bfloat16 if agrees else torch.float32


def agreement_of(bundle: Bundle) -> float:
    """Share of pixels of the same class in both precisions, as the bundle says; 0 where it does not."""
    told = (bundle.properties or {}).get(PROPERTY)
    share = told.get("agreement") if isinstance(told, Mapping) else None
    return float(share) if isinstance(share, (int, float)) and not isinstance(share, bool) else 0.0


def name_of(precision: torch.dtype) -> str:
    """`float32` or `bfloat16`."""
    return str(precision).removeprefix("torch.")


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 by itself, so that it is faster."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        told: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(told.get("avx512_bf16") or told.get("amx_bf16"))
    return False
