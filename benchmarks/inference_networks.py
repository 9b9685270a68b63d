"""Networks over large blocks: their fast forms against the published layout, and against what they were made of.

The published layout is one series per pixel, one-dimensional convolutions of (N, C, T), batch normalisation, ReLU and
maximum each by itself, and a U-Net with the channels first, eager and in float32. It gets its blocks without halo; the
fast forms compute theirs around each block.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import models
from cropmap_core.inference.bundles import load_bundle
from models.faster import FasterNetwork, faster
from models.faster.regions import Region
from models.hybrid_cnn import PUBLISHED, HybridCNN
from models.network import Network

MONTHS, BANDS, CLASSES = 12, 10, 9
PIECE = 256
"""Edge of what the published layout sees at once, in pixels: more would not fit the memory."""
_MATRIX = 2048

Season = tuple[Tensor, Tensor, Tensor]


def hybrid(**hyper_parameters: object) -> HybridCNN:
    """A hybrid CNN with normalisations as a trained one has them."""
    torch.manual_seed(0)
    made = models.build("hybrid_cnn", channels=BANDS, classes=CLASSES, **hyper_parameters)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.get_buffer("running_mean"), std=0.1)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 1.5)
    if not isinstance(made, HybridCNN):
        raise TypeError(f"hybrid_cnn is a {type(made).__name__}")
    return made.eval()


def season(edge: int, times: int, dtype: torch.dtype) -> Season:
    """A season whose every value is there, channels last in memory."""
    x = torch.randn(1, times, edge, edge, BANDS, dtype=dtype).permute(0, 1, 4, 2, 3)
    days = torch.linspace(0, 335, times).unsqueeze(0)
    return x, days, torch.ones(1, times, edge, edge, dtype=torch.bool)


def published_layout(network: HybridCNN, x: Tensor) -> Tensor:
    """Logits of a season without date channels, shape (1, T, C, H, W), as the published code computes them."""
    _, times, channels, height, width = x.shape
    features = x.permute(0, 3, 4, 2, 1).reshape(-1, channels, times)  # (H * W, C, T)
    for convolution, norm in zip(network.temporal.convolutions, network.temporal.norms, strict=True):
        features = functional.conv1d(features, convolution.weight, convolution.bias, padding=convolution.padding)
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        features = functional.batch_norm(features, mean, variance, norm.weight, norm.bias, eps=norm.eps).relu()
    image = features.amax(dim=2).view(1, height, width, -1).permute(0, 3, 1, 2).contiguous()  # (1, D, H, W)
    logits: Tensor = network.classify(network.unet(image, torch.ones(1, height, width, dtype=torch.bool)))
    return logits


def operations(network: Network) -> float:
    """Floating-point operations per pixel."""
    edge = 4 * int(network.stride)
    with FlopCounterMode(display=False) as counter:
        network.logits(*season(edge, MONTHS, torch.float32))
    return float(counter.get_total_flops()) / edge**2


def rates(candidates: dict[str, tuple[Callable[[], object], float]], rounds: int) -> dict[str, float]:
    """Units per second of each candidate, the median of some rounds in which they take turns; each warms up first."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for function, _ in candidates.values():
        function()
    for _ in range(rounds):
        for name, (function, _) in candidates.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: units / statistics.median(seconds[name]) for name, (_, units) in candidates.items()}


def over_block(network: FasterNetwork, edge: int, times: int = MONTHS) -> Callable[[], object]:
    """Maps a block with the halo around it."""
    whole = season(edge + 2 * network.halo, times, network.precision)
    inside = Region(network.halo, network.halo + edge, network.halo, network.halo + edge)
    return lambda: network.logits_inside(*whole, inside)


def compare_hybrids(edge: int, rounds: int) -> None:
    """Both sizes of the hybrid CNN against the published layout, and the rate of a matrix product."""
    published, compact = hybrid(**PUBLISHED), hybrid()
    piece, matrix = season(PIECE, MONTHS, torch.float32)[0].contiguous(), torch.randn(_MATRIX, _MATRIX).bfloat16()
    pixels = float(edge**2)
    found = rates(
        {
            "published size, published layout": (lambda: published_layout(published, piece), float(PIECE**2)),
            "published size, float32": (over_block(faster(published), edge), pixels),
            "published size, bfloat16": (over_block(faster(published, torch.bfloat16), edge), pixels),
            "compact, float32": (over_block(faster(compact), edge), pixels),
            "compact, bfloat16": (over_block(faster(compact, torch.bfloat16), edge), pixels),
            "bfloat16 matrix product": (lambda: matrix @ matrix, 2.0 * _MATRIX**3),
        },
        rounds,
    )
    product = found.pop("bfloat16 matrix product")
    layout = found["published size, published layout"]
    work = {"published": operations(published), "compact": operations(compact)}
    print(
        f"\nhybrid CNN, {MONTHS} dates, blocks of {edge} pixels; a bfloat16 product runs at {product / 1e9:.0f} GFLOP/s"
    )
    for name, rate in found.items():
        share = rate * work[name.replace(",", "").split()[0]] / product
        print(f"  {name:34s} {rate / 1e3:9.1f} kpx/s  {rate / layout:6.2f} x  {share:5.0%} of the product's rate")


def compare_bundle(bundle_id: str, edge: int, rounds: int) -> None:
    """A bundle's network, as it was trained, against its fast forms."""
    bundle = load_bundle(bundle_id)
    network, times = bundle.network(torch.device("cpu")), len(bundle.first_days)
    pixels = float(edge**2)
    given = season(edge, times, torch.float32)
    found = rates(
        {
            "as it was trained": (lambda: network.logits(*given), pixels),
            "float32": (over_block(faster(network), edge, times), pixels),
            "bfloat16": (over_block(faster(network, torch.bfloat16), edge, times), pixels),
        },
        rounds,
    )
    print(f"\n{bundle_id}, {times} dates")
    for name, rate in found.items():
        print(f"  {name:34s} {rate / 1e3:9.2f} kpx/s  {rate / found['as it was trained']:6.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=1024, help="of a block, in pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with torch.inference_mode():
        compare_hybrids(options.edge, options.rounds)
        compare_bundle("us-2021-pixel", 96, options.rounds)


if __name__ == "__main__":
    main()
