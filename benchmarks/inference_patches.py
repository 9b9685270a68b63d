"""A ConvLSTM of the published size over a raster: patches of 65 pixels, 13 pixels apart, shared against cut out.

The network first learns, in a minute, to tell the crops of a made landscape apart: random weights would give all cells
one class. Only some rows of cells are cut out, for all of them would take as long as 25 maps. On one thread, and times
are those of the processor, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.paired import peak_memory_mib
from models import build
from models.convlstm import ConvLSTM
from models.dense_patches import Cells, patch_logits
from models.faster.convolutional_recurrence import faster_recurrence

CLASSES, CHANNELS, TIMES = 6, 5, 12
PATCH, STRIDE = 65, 13
FIELD = 64
"""Mean distance of fields, pixels: about what patches of this size are made for."""
_TRAINING_PATCH, _STEPS, _BATCH = 9, 25, 24
_PATCHES_AT_ONCE = 6  # as `Predictor` cuts patches of this size out


def landscape(size: int, seed: int, field_size: int) -> tuple[Tensor, Tensor]:
    """A season of fields, shape (T, CHANNELS, size, size), and their crops, shape (size, size).

    Crops differ in when they are green, fields of a crop in level and timing, and every pixel has its own noise.
    """
    random = torch.Generator().manual_seed(seed)
    count = (size // field_size) ** 2
    places = torch.rand(count, 2, generator=random) * size
    rows, cols = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    pixels = torch.stack([rows, cols], dim=-1).float().view(-1, 2)
    field = torch.cat([torch.cdist(part, places).argmin(dim=1) for part in pixels.split(2**16)])  # (size * size)
    crop = torch.randint(CLASSES, (count,), generator=random)
    month = torch.arange(TIMES).view(-1, 1, 1).float()
    peak = 2 + 7 * crop / (CLASSES - 1) + 0.7 * torch.randn(count, generator=random)
    width = 1.5 + (crop % 2) + 0.2 * torch.randn(count, generator=random)
    green = torch.exp(-(((month - peak.view(1, 1, -1)) / width.view(1, 1, -1)) ** 2))  # (T, 1, fields)
    gain = torch.tensor([-0.6, -0.3, -0.8, 1.0, 0.5]).view(1, -1, 1)
    seasons = gain * green + 0.2 * torch.randn(1, CHANNELS, count, generator=random)  # (T, CHANNELS, fields)
    season = seasons[:, :, field].view(TIMES, CHANNELS, size, size)
    return season + 0.3 * torch.randn(season.shape, generator=random), crop[field].view(size, size)


def trained(field_size: int, seed: int = 0) -> ConvLSTM:
    """The published size, with weights that know the landscape's crops."""
    torch.manual_seed(seed)
    network = build("convlstm", channels=CHANNELS, classes=CLASSES, patch_size=PATCH)
    assert isinstance(network, ConvLSTM)
    season, crops = landscape(8 * field_size, seed + 1, field_size)
    edge = _TRAINING_PATCH
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    dates, valid = days().expand(_BATCH, -1), torch.ones(_BATCH, TIMES, edge, edge, dtype=torch.bool)
    for _ in range(_STEPS):
        corners = torch.randint(len(crops) - edge, (_BATCH, 2)).tolist()
        x = torch.stack([season[:, :, row : row + edge, col : col + edge] for row, col in corners])
        target = torch.stack([crops[row + edge // 2, col + edge // 2] for row, col in corners])
        loss = functional.cross_entropy(network(x, dates, valid), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def days() -> Tensor:
    return 30.4 * torch.arange(TIMES)


def cut_out(network: ConvLSTM, x: Tensor, row: int, cols: int) -> Tensor:
    """Classes of a row of cells, patch by patch, shape (cols,)."""
    patches = x.unfold(3, PATCH, STRIDE)[:, :, row * STRIDE : row * STRIDE + PATCH, :cols]  # (T, C, PATCH, cols, PATCH)
    found = []
    for some in patches.permute(3, 0, 1, 2, 4).split(_PATCHES_AT_ONCE):  # (N, T, C, PATCH, PATCH)
        valid = torch.ones(len(some), TIMES, PATCH, PATCH, dtype=torch.bool)
        found.append(network(some.contiguous(), days().expand(len(some), -1), valid).argmax(dim=1))
    return torch.cat(found)


def seconds(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=39, help="rows and columns of cells; 39 are a block of 507 pixels")
    parser.add_argument("--field", type=int, default=FIELD, help="mean distance of fields, pixels")
    parser.add_argument("--rows", type=int, default=5, help="rows of cells that are also cut out")
    given = parser.parse_args()
    torch.set_num_threads(1)
    network = trained(given.field)
    around = PATCH // 2 - STRIDE // 2
    size = given.cells * STRIDE + 2 * PATCH  # with what lies around a block, as it is read
    x, crops = landscape(size, 7, given.field)
    valid = torch.ones(TIMES, size, size, dtype=torch.bool)
    cells = Cells(STRIDE, given.cells, given.cells, corner=PATCH - around)
    rates, maps = {}, {}
    picked = torch.linspace(0, given.cells - 1, given.rows).int().tolist()
    with torch.inference_mode():
        for precision in (torch.float32, torch.bfloat16):
            shared = faster_recurrence(network, precision)
            patch_logits(shared, x, days(), valid, Cells(STRIDE, 1, 1, cells.corner))  # warm
            taken, logits = seconds(lambda shared=shared: patch_logits(shared, x, days(), valid, cells))
            name = str(precision).removeprefix("torch.")
            rates[name], maps[name] = given.cells**2 / taken, logits.argmax(dim=0)
        here = x[:, :, cells.corner :, cells.corner :]
        cut_out(network, here, 0, 1)  # warm
        rows = [seconds(lambda row=row: cut_out(network, here, row, given.cells)) for row in picked]
    rates["cut out"] = given.cells / statistics.median(taken for taken, _ in rows)
    told = torch.stack([found for _, found in rows])
    middle = PATCH + STRIDE // 2
    truth = crops[middle::STRIDE, middle::STRIDE][: given.cells, : given.cells]
    print(f"\nConvLSTM, patches of {PATCH} pixels, {STRIDE} apart, {TIMES} dates: {given.cells} x {given.cells} cells")
    print("  (maps are made in float32; bfloat16 stands here for comparison)")
    for name, rate in rates.items():
        same = f"same class {(maps[name][picked] == told).float().mean():.2%}" if name in maps else ""
        print(f"  {name:10s} {rate:8.1f} cells/s   {rate / rates['cut out']:6.1f} x   {same}")
    alike = (maps["float32"] == maps["bfloat16"]).float().mean()
    print(f"  bfloat16 against float32, all cells: same class {alike:.2%}; {len(told.unique())} classes in the rows")
    print(f"  of the rows' cells {(told == truth[picked]).float().mean():.0%} are of their middle's crop")
    print(f"  peak memory of all this {peak_memory_mib():.0f} MiB")


if __name__ == "__main__":
    main()
