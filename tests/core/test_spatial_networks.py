"""Networks that look at the pixels around: how far they see, that blocks with a halo are the whole, published sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models import build
from models.convolutional_recurrence import farthest
from models.convrnn import ConvGRUCell, ConvSTARCell
from models.hybrid_cnn import PUBLISHED
from models.network import Network
from models.observed_monai import ImageNorm
from models.unet import double, receptive_radius
from models.utae import UTAE
from tests.core.test_networks import CHANNELS, assert_same, network, season, with_holes

LEVELS = ("hybrid_cnn", "hybrid_cnn published", "utae", "attention_unet3d")
RECURRENT = ("convlstm dense", "convrnn", "convrnn gru")


def sees(made: Network, times: int = 2) -> int:
    """How many rows away the farthest input is that moves an output, of all places within the stride."""
    radius = made.receptive_radius
    x, dates, valid = season(times=times, height=2 * (radius + 4) + made.stride, width=1)
    most = 0
    for row in range(radius + 4, radius + 4 + made.stride):
        x.grad = None
        made(x.requires_grad_(), dates, valid)[0, :, row, 0].sum().backward()
        assert x.grad is not None
        rows = x.grad.abs().sum(dim=(0, 1, 2, 4)).nonzero().flatten()
        most = max(most, row - int(rows.min()), int(rows.max()) - row)
    return most


@pytest.mark.parametrize(
    ("architecture", "hyper_parameters"),
    [
        ("hybrid_cnn", {"widths": (4,)}),
        ("hybrid_cnn", {"widths": (4, 5)}),
        ("hybrid_cnn", {"widths": (4, 5, 6)}),
        ("hybrid_cnn", {"widths": (4, 5, 6), "convolutions": 2}),
        ("hybrid_cnn", {"widths": (4, 5, 6), "upsampling": "bilinear"}),
        ("hybrid_cnn published", {}),
        ("hybrid_cnn published", {"widths": (6, 6, 6, 6, 6), "decoder": (6, 6, 6, 6)}),
        ("utae", {"widths": (8,)}),
        ("utae", {"widths": (8, 8)}),
        ("utae", {}),
        ("utae", {"convolutions": 2}),
        ("attention_unet3d", {"widths": (8, 8)}),
        ("attention_unet3d", {}),
        ("attention_unet3d", {"widths": (8, 8, 8, 8)}),
    ],
)
def test_receptive_radius_is_exact(architecture: str, hyper_parameters: dict[str, object]) -> None:
    """Somewhere a pixel sees just as far as stated, and nowhere farther."""
    made = network(architecture, **hyper_parameters)
    found = sees(made)
    assert found <= made.receptive_radius
    # Max pooling passes only the largest value on, so a given input may fall short by less than a cell.
    assert found > made.receptive_radius - made.stride


def test_radius_of_the_published_design() -> None:
    published = build("hybrid_cnn", channels=4, classes=51, **PUBLISHED)
    assert published.receptive_radius == receptive_radius(5, 2, "bilinear") == 122
    assert (published.stride, published.halo) == (16, 128)


@pytest.mark.parametrize("architecture", RECURRENT)
@pytest.mark.parametrize("times", [1, 2, 4])
def test_recurrence_sees_a_pixel_farther_with_each_date(architecture: str, times: int) -> None:
    made = network(architecture)
    assert sees(made, times) == farthest(cells=2, times=times)
    assert farthest(cells=2, times=made.receptive_radius - 1) == made.receptive_radius


def by_blocks(made: Network, x: Tensor, dates: Tensor, valid: Tensor, size: int = 16) -> Tensor:
    """Logits of a raster, block by block with a halo; outside the raster nothing is valid."""
    height, width = x.shape[-2:]
    halo = made.halo
    beyond = (halo, halo + size, halo, halo + size)
    x, valid = functional.pad(x, beyond, value=9.0), functional.pad(valid, beyond)
    result = x.new_full((1, made.classes, height, width), torch.nan)
    for row in range(0, height, size):
        for col in range(0, width, size):
            rows, cols = slice(row, row + size + 2 * halo), slice(col, col + size + 2 * halo)
            block = made(x[..., rows, cols], dates, valid[..., rows, cols])
            inner = block[..., halo : halo + min(size, height - row), halo : halo + min(size, width - col)]
            result[..., row : row + size, col : col + size] = inner
    return result


@torch.no_grad()
@pytest.mark.parametrize("architecture", [*LEVELS, *RECURRENT])
def test_blocks_with_a_halo_equal_the_whole(architecture: str) -> None:
    made = network(architecture)
    for seen in (season(height=33, width=38), with_holes(height=41, width=38)):
        assert_same(by_blocks(made, *seen), made(*seen))


@torch.no_grad()
@pytest.mark.parametrize("architecture", [*LEVELS, *RECURRENT])
def test_what_was_never_observed_is_as_the_edge(architecture: str) -> None:
    """A raster whose last rows and columns were never observed, at the edge of a cell of the coarsest level."""
    made = network(architecture)
    x, dates, valid = season(height=16, width=16)
    valid[..., 8:, :] = valid[..., 12:] = False
    assert_same(made(x, dates, valid)[..., :8, :12], made(x[..., :8, :12], dates, valid[..., :8, :12]))


def fields(batch: int, size: int, times: int = 12) -> tuple[Tensor, Tensor]:
    """Seasons of square fields of two crops, told apart by no single pixel but by their mean, and their classes."""
    field = 12
    of_fields = torch.randint(2, (batch, -(-size // field), -(-size // field)))
    target = of_fields.repeat_interleave(field, dim=1).repeat_interleave(field, dim=2)[:, :size, :size]
    x = torch.randn(batch, times, CHANNELS, size, size)
    x[:, :, 0] += 0.3 * (2 * target[:, None] - 1)
    return x, target


@pytest.mark.parametrize("architecture", RECURRENT)
def test_little_comes_from_beyond_the_reach_in_a_long_season(architecture: str) -> None:
    """No proof: of networks that learnt to look around, blocks' probabilities are the whole's to within 0.001."""
    made = network(architecture, dropout=0.0).train()
    _, dates, valid = season(times=12, height=36, width=36)
    optimiser = torch.optim.Adam(made.parameters(), lr=1e-2)
    for _ in range(40):
        x, target = fields(2, 36)
        loss = functional.cross_entropy(made(x, dates.expand(2, -1), valid.expand(2, -1, -1, -1)), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    made.eval()
    error = {}
    with torch.no_grad():
        x, dates, valid = fields(1, 48, times=36)[0], *with_holes(times=36, height=48, width=48)[1:]
        whole = made(x, dates, valid).softmax(dim=1)
        for reach in (2, made.receptive_radius):
            made.receptive_radius = reach
            error[reach] = float((by_blocks(made, x, dates, valid).softmax(dim=1) - whole).abs().max())
    assert error[made.receptive_radius] < 1e-3 < 1e-2 < error[2]


@pytest.mark.parametrize("architecture", [*LEVELS, *RECURRENT])
def test_a_date_that_is_valid_nowhere_moves_no_statistic(architecture: str) -> None:
    """Trained with a date that is valid nowhere and without it, a network is the same."""
    x, dates, valid = season(batch=2)
    valid &= torch.rand(valid.shape) > 0.3
    valid[:, 2] = False
    x[:, 2] = 1e6
    kept = [0, 1, 3, 4, 5]
    states = []
    for part in ((x, dates, valid), (x[:, kept], dates[:, kept], valid[:, kept])):
        made = network(architecture, dropout=0.0).train()
        made(*part)
        states.append(made.state_dict())
    for name, value in states[0].items():
        assert_same(value, states[1][name])


@torch.no_grad()
@pytest.mark.parametrize("architecture", [*LEVELS, *RECURRENT])
def test_samples_of_a_batch_have_their_own_dates(architecture: str) -> None:
    """Together with one that was observed at all dates, a sample of two dates is what it is alone."""
    made = network(architecture)
    x, dates, valid = season(batch=2)
    valid[1, [0, 1, 3, 5]] = False
    assert_same(made(x, dates, valid)[1:], made(x[1:, [2, 4]], dates[1:, [2, 4]], valid[1:, [2, 4]]))


@torch.no_grad()
def test_bilinear_doubling_is_that_of_torch_and_zero_beyond_the_edge() -> None:
    features = torch.randn(2, 3, 5, 4)
    expected = functional.interpolate(functional.pad(features, (1, 1, 1, 1)), scale_factor=2, mode="bilinear")
    assert_same(double(features), expected[..., 2:-2, 2:-2])


def test_published_convlstm() -> None:
    """Two cells with one 3x3 convolution to four gates each, then a linear layer."""
    published = build("convlstm", channels=5, classes=10, patch_size=65)
    cells = [4 * hidden * (9 * (inputs + hidden) + 1) for inputs, hidden in ((5, 64), (64, 128))]
    size = sum(parameter.numel() for parameter in published.parameters())
    assert size == sum(cells) + 128 * 10 + 10 == 1_045_770
    x, valid = torch.randn(1, 2, 5, 65, 65), torch.ones(1, 2, 65, 65, dtype=torch.bool)
    with torch.no_grad():
        assert published(x, torch.tensor([[0.0, 30.0]]), valid).shape == (1, 10)


def test_published_hybrid_cnn() -> None:
    """Four channels; two convolutions over time, nine levels of two 3x3 convolutions, a 1x1 convolution."""
    published = build("hybrid_cnn", channels=4, classes=51, **PUBLISHED)

    def convolution(inputs: int, width: int, kernel: int) -> int:
        return kernel * inputs * width + width + 2 * width  # weights, biases, scale and shift of the normalisation

    time = convolution(4, 64, 5) + convolution(64, 64, 5)
    down = [(64, 64), (64, 128), (128, 256), (256, 512), (512, 512)]
    up = [(512 + 512, 256), (256 + 256, 128), (128 + 128, 64), (64 + 64, 64)]
    levels = [convolution(inputs, width, 9) + convolution(width, width, 9) for inputs, width in down + up]
    assert (time, sum(levels), 64 * 51 + 51) == (22_144, 13_430_400, 3_315)
    size = sum(parameter.numel() for parameter in published.parameters())
    assert size == time + sum(levels) + 64 * 51 + 51 == 13_455_859


@torch.no_grad()
def test_convlstm_keeps_the_state_of_a_missing_date() -> None:
    """A patch without its last date is classified as a season that ends one date earlier."""
    lstm = network("convlstm")
    x, dates, valid = season()
    valid[:, -1] = False
    assert torch.equal(lstm(x, dates, valid), lstm(x[:, :-1], dates[:, :-1], valid[:, :-1]))


@torch.no_grad()
def test_convlstm_averages_over_observed_pixels_only() -> None:
    """Two pixels three columns apart, with nothing observed around them, do not see each other: logits average."""
    lstm = network("convlstm", hidden=(6,))
    x, dates, valid = season(height=1, width=7)
    one, other, both = (torch.zeros_like(valid) for _ in range(3))
    one[..., 1] = other[..., 5] = True
    both[..., 1] = both[..., 5] = True
    average = (lstm(x, dates, one) + lstm(x, dates, other)) / 2
    assert_same(lstm(x, dates, both), average)


@torch.no_grad()
def test_patch_convlstm_averages_the_dense_one() -> None:
    """With the same weights a patch's logits are the mean of its observed pixels'."""
    patch, dense = network("convlstm"), network("convlstm dense")
    dense.load_state_dict(patch.state_dict())
    x, dates, valid = with_holes()
    seen = valid.any(dim=1).expand(1, dense.classes, -1, -1)
    assert (patch.kind, dense.kind) == ("patch", "dense")
    assert_same(patch(x, dates, valid), dense(x, dates, valid)[seen].view(1, dense.classes, -1).mean(dim=2))


@torch.no_grad()
@pytest.mark.parametrize("architecture", [*RECURRENT, "utae", "attention_unet3d"])
def test_each_pixel_drops_its_own_missing_dates(architecture: str) -> None:
    """Alone, a pixel with a cloudy date is one that never had that date; never observed, it is zero."""
    made = network(architecture)
    x, dates, valid = season(times=4, height=1, width=1)
    without = made(x[:, [0, 2, 3]], dates[:, [0, 2, 3]], valid[:, [0, 2, 3]])
    valid[:, 1] = False
    assert_same(made(x, dates, valid), without)
    assert not made.features(x, dates, torch.zeros_like(valid)).any()


@torch.no_grad()
def test_convstar_is_its_equations() -> None:
    """Turkoglu et al. (2022): a gate k, a candidate z of the date alone; at the middle of a 3x3 image, by hand."""
    torch.manual_seed(3)
    cell = ConvSTARCell(2, 4)
    x, h = torch.randn(1, 2, 3, 3), torch.randn(1, 4, 3, 3)
    xh = torch.cat([x, h], dim=1)
    k = torch.sigmoid((cell.gate.weight * xh).sum(dim=(1, 2, 3)) + cell.gate.bias)
    z = torch.tanh((cell.candidate.weight * x).sum(dim=(1, 2, 3)) + cell.candidate.bias)
    expected = torch.tanh((1 - k) * h[0, :, 1, 1] + k * z)
    everywhere = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    (found,) = cell(x, (h,), everywhere)
    assert_same(found[0, :, 1, 1], expected)
    everywhere[..., 1, 1] = False
    (kept,) = cell(x, (h,), everywhere)
    assert torch.equal(kept[..., 1, 1], h[..., 1, 1])
    assert torch.equal(kept[..., 0, 1], found[..., 0, 1])


@torch.no_grad()
def test_stacked_cells_step_through_the_season() -> None:
    """The higher cell takes the lower one's new state; what the network classifies is the last of the highest."""
    made = network("convrnn", date_harmonics=0)
    x, dates, valid = with_holes()
    low, high = (torch.zeros(1, hidden, 7, 7) for hidden in (6, 8))
    for t in range(6):
        (low,) = made.cells[0](x[:, t] * valid[:, t, None], (low,), valid[:, t, None])
        (high,) = made.cells[1](low, (high,), valid[:, t, None])
    assert_same(made.features(x, dates, valid), high)


@torch.no_grad()
def test_convgru_of_one_pixel_is_a_gru() -> None:
    torch.manual_seed(4)
    ours, theirs = ConvGRUCell(3, 5), torch.nn.GRUCell(3, 5)
    for mine, name in ((ours.of_input, "ih"), (ours.of_state, "hh")):
        getattr(theirs, f"weight_{name}").copy_(mine.weight[..., 1, 1])
        getattr(theirs, f"bias_{name}").copy_(mine.bias)
    x, h = torch.randn(2, 3), torch.randn(2, 5)
    (found,) = ours(x[..., None, None], (h[..., None, None],), torch.ones(2, 1, 1, 1, dtype=torch.bool))
    assert_same(found[..., 0, 0], theirs(x, h))


@torch.no_grad()
@pytest.mark.parametrize("levels", [1, 3])
def test_utae_shares_its_attention_among_the_observations(levels: int) -> None:
    made = network("utae", widths=(8, 8, 16)[-levels:])
    assert isinstance(made, UTAE)
    x, dates, valid = with_holes(height=9)
    weights = made.attention(x, dates, valid)
    assert weights.shape == (1, 4, 6, 9, 7)
    assert not weights.movedim(1, -1)[~valid].any()
    assert_same(weights.sum(dim=2), valid.any(dim=1, keepdim=True).float().expand(-1, 4, -1, -1))
    assert weights[valid.unsqueeze(1).expand_as(weights)].std() > 1e-4


@torch.no_grad()
def test_utae_shares_the_weights_of_a_cloud_among_the_other_dates() -> None:
    """A cloud that leaves the rest of its cell clear: there the other dates keep their proportions."""
    made = network("utae")
    assert isinstance(made, UTAE)
    x, dates, valid = season(height=4, width=4)
    x[...] = x[..., :1, :1]
    clear = made.attention(x, dates, valid)
    valid[:, 3, 1, 1] = False
    clouded = made.attention(x, dates, valid)
    others = [0, 1, 2, 4, 5]
    assert not clouded[:, :, 3, 1, 1].any()
    assert_same(clouded[:, :, others, 1, 1].sum(dim=2), torch.ones(1, 4))
    assert (clouded[:, :, 3, 0, 0] > 0).all()
    assert clear[:, :, 3, 1, 1].min() > 0


def test_attention_unet3d_has_no_normalisation_that_takes_clouds_for_data() -> None:
    kinds = (nn.BatchNorm1d, nn.BatchNorm3d, nn.InstanceNorm3d)
    norms = [module for module in network("attention_unet3d").modules() if isinstance(module, kinds)]
    assert len(norms) == 2 * 3 + 2 * (3 + 1 + 1)  # a pair per level; gate, transposed and merging convolution
    assert all(isinstance(norm, ImageNorm) for norm in norms)


@torch.no_grad()
@pytest.mark.parametrize("name", ["hybrid_cnn", "utae", "attention_unet3d", "convrnn"])
def test_a_date_that_is_seen_in_one_corner_only_does_not_move_the_rest(name: str) -> None:
    """The edge of a swath: most blocks have a date less than the whole."""
    made = network(name)
    x, dates, valid = season(times=4, height=48, width=4 * made.stride)
    valid[:, 2, :36] = False
    whole = made(x, dates, valid)
    size, halo = 4 * made.stride, made.halo
    beyond = (halo, halo, halo, halo + size)
    x, valid = functional.pad(x, beyond), functional.pad(valid, beyond)
    for row in range(0, 48, size):
        rows = slice(row, row + size + 2 * halo)
        block = made(x[..., rows, :], dates, valid[..., rows, :])
        here = whole[..., row : row + size, :]
        found = block[..., halo : halo + here.shape[-2], halo : halo + here.shape[-1]]
        torch.testing.assert_close(found, here, rtol=0, atol=2e-5)
