"""The networks' contract: what is not valid never matters, order does, and a block is mapped as the whole would be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models import build
from models.hybrid_cnn import receptive_radius
from models.network import Network

CHANNELS, CLASSES = 3, 4
ARCHITECTURES = ("hybrid_cnn", "convlstm", "tempcnn")
SMALL = {
    "hybrid_cnn": {"embedding": 8, "widths": (6, 8, 10)},
    "convlstm": {"hidden": (6, 8), "patch_size": 7},
    "tempcnn": {"hidden": (8, 8, 8), "dense": 12, "heads": 2},
}


def network(architecture: str, seed: int = 0, **hyper_parameters: object) -> Network:
    """A small network in eval mode whose batch norms have seen data, so that no layer is an identity."""
    torch.manual_seed(seed)
    made = build(architecture, channels=CHANNELS, classes=CLASSES, **{**SMALL[architecture], **hyper_parameters})
    with torch.no_grad():
        for _ in range(3):
            made.train()(*season(batch=2))
    return made.eval()


def season(batch: int = 1, times: int = 6, height: int = 7, width: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(batch, times, CHANNELS, height, width)
    dates = (torch.arange(times) * 30.0).expand(batch, times)
    return x, dates, torch.ones(batch, times, height, width, dtype=torch.bool)


def with_holes(times: int = 6, height: int = 7, width: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """A season with a third of the pixel-dates missing and a corner that was never observed."""
    x, dates, valid = season(times=times, height=height, width=width)
    valid &= torch.rand(valid.shape) > 0.3
    valid[..., :2, :3] = False
    return x, dates, valid


@pytest.fixture(params=ARCHITECTURES)
def any_network(request: pytest.FixtureRequest) -> Network:
    torch.manual_seed(1)
    return network(request.param)


def assert_same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


@torch.no_grad()
def test_values_that_are_not_valid_never_matter(any_network: Network) -> None:
    x, dates, valid = with_holes()
    for rubbish in (1e30, float("nan"), float("inf")):
        spoilt = torch.where(valid.unsqueeze(2), x, rubbish)
        assert torch.equal(any_network(spoilt, dates, valid), any_network(x, dates, valid))


@torch.no_grad()
@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_date_that_is_valid_nowhere_is_no_date(any_network: Network, place: int) -> None:
    x, dates, valid = with_holes()
    longer = [
        torch.cat([part[:, :place], extra, part[:, place:]], dim=1)
        for part, extra in (
            (x, torch.randn_like(x[:, :1])),
            (dates, torch.full((1, 1), 77.0)),
            (valid, torch.zeros_like(valid[:, :1])),
        )
    ]
    assert torch.equal(any_network(*longer), any_network(x, dates, valid))


@torch.no_grad()
def test_each_pixel_drops_its_own_missing_dates() -> None:
    """Two pixels with the same three observations, one of them with a cloudy date between, are the same."""
    cnn = network("hybrid_cnn", widths=(6,))
    x, dates, _ = season(times=4, height=1, width=1)
    with_gap = torch.tensor([True, False, True, True]).view(1, 4, 1, 1)
    kept = [0, 2, 3]
    without = cnn(x[:, kept], dates[:, kept], torch.ones(1, 3, 1, 1, dtype=torch.bool))
    assert_same(cnn(x, dates, with_gap), without)


@torch.no_grad()
def test_order_of_the_observations_matters(any_network: Network) -> None:
    """Values that change places in time, the calendar staying as it is, are another season."""
    x, dates, valid = season()
    shuffled = x[:, [3, 0, 5, 1, 4, 2]]
    assert (any_network(shuffled, dates, valid) - any_network(x, dates, valid)).abs().max() > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_day_of_season_matters_with_date_channels_and_only_then(architecture: str) -> None:
    x, dates, valid = season()
    for harmonics, matters in ((2, True), (0, False)):
        made = network(architecture, date_harmonics=harmonics)
        change = (made(x, dates + 45, valid) - made(x, dates, valid)).abs().max()
        assert bool(change > 1e-3) is matters


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 3), (13, 10)])
def test_any_height_and_width(any_network: Network, height: int, width: int) -> None:
    logits = any_network(*season(batch=2, height=height, width=width))
    expected = (2, CLASSES, height, width) if any_network.kind == "dense" else (2, CLASSES)
    assert logits.shape == expected
    assert logits.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("times", [1, 2, 5, 80])
def test_any_number_of_dates(any_network: Network, times: int) -> None:
    assert any_network(*season(times=times)).isfinite().all()


def test_receptive_radius_is_exact() -> None:
    """Somewhere a pixel sees just as far as stated, and nowhere farther."""
    for levels, convolutions in ((1, 1), (2, 1), (3, 1), (3, 2)):
        made = network("hybrid_cnn", widths=(4, 5, 6)[:levels], convolutions=convolutions)
        radius = receptive_radius(levels, convolutions)
        assert made.receptive_radius == radius
        size = 2 * (radius + 8)
        x, dates, valid = season(times=2, height=size, width=1)
        farthest = 0
        for row in range(radius + 4, radius + 4 + made.stride):
            x.grad = None
            made(x.requires_grad_(), dates, valid)[0, :, row, 0].sum().backward()
            assert x.grad is not None
            rows = x.grad.abs().sum(dim=(0, 1, 2, 4)).nonzero().flatten()
            farthest = max(farthest, row - int(rows.min()), int(rows.max()) - row)
        assert farthest <= radius
        # Max pooling passes only the largest value on, so a given input may fall short by less than a cell.
        assert farthest > radius - made.stride


@torch.no_grad()
def test_blocks_with_a_halo_equal_the_whole() -> None:
    cnn = network("hybrid_cnn")
    height, width, size = 41, 38, 16
    x, dates, valid = with_holes(height=height, width=width)
    whole = cnn(x, dates, valid)
    halo = cnn.halo
    beyond = (halo, halo + size, halo, halo + size)
    x_padded = torch.nn.functional.pad(x, beyond, value=9.0)  # outside the raster: not valid
    valid_padded = torch.nn.functional.pad(valid, beyond)
    for row in range(0, height, size):
        for col in range(0, width, size):
            rows, cols = slice(row, row + size + 2 * halo), slice(col, col + size + 2 * halo)
            block = cnn(x_padded[..., rows, cols], dates, valid_padded[..., rows, cols])
            inner = block[..., halo : halo + min(size, height - row), halo : halo + min(size, width - col)]
            assert_same(inner, whole[..., row : row + size, col : col + size])


@torch.no_grad()
def test_outside_the_raster_is_the_same_padded_or_handed_in(any_network: Network) -> None:
    x, dates, valid = season(height=9, width=9)
    valid[..., 7:, :] = False
    valid[..., :, 6:] = False
    logits = any_network(x, dates, valid)
    cropped = any_network(x[..., :7, :6], dates, valid[..., :7, :6])
    assert_same(logits[..., :7, :6] if any_network.kind == "dense" else logits, cropped)


@torch.no_grad()
def test_encoding_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cnn = network("hybrid_cnn")
    season_with_holes = with_holes()
    at_once = cnn(*season_with_holes)
    monkeypatch.setattr("models.pixel_series.PIXELS_AT_ONCE", 5)
    assert_same(cnn(*season_with_holes), at_once)


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


def test_reference_convlstm_has_the_published_size() -> None:
    reference = build("convlstm", channels=5, classes=10, hidden=(64, 128), date_harmonics=0)
    assert sum(parameter.numel() for parameter in reference.parameters()) == 1_045_770


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_finite_with_holes_and_reach_every_weight(architecture: str) -> None:
    made = network(architecture).train()
    x, dates, valid = with_holes()
    made(torch.where(valid.unsqueeze(2), x, float("nan")), dates, valid).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_on_a_single_pixel_or_on_nothing_is_finite(architecture: str) -> None:
    made = network(architecture).train()
    x, dates, valid = season(height=1, width=1)
    assert made(x[:, :1], dates[:, :1], valid[:, :1]).isfinite().all()
    assert made(x, dates, torch.zeros_like(valid)).isfinite().all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_seed_decides_the_weights(architecture: str) -> None:
    one, again, other = (network(architecture, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("architecture", "hyper_parameters", "message"),
    [
        ("transformer", {}, "convlstm, hybrid_cnn"),
        ("convlstm", {"channels": 3}, "missing: classes. It takes channels, classes, patch_size, hidden"),
        ("convlstm", {"channels": 3, "classes": 2, "layers": 2}, "unknown: layers. It takes channels"),
        ("convlstm", {"channels": 3, "classes": 2, "patch_size": 4}, "odd number of at most 9"),
        ("convlstm", {"channels": 3, "classes": 2, "patch_size": 11}, "odd number of at most 9"),
        ("convlstm", {"channels": 3, "classes": 2, "hidden": ()}, "hidden is empty"),
        ("hybrid_cnn", {"channels": 3, "classes": 2, "kernel": 4}, "kernel is 4"),
        ("hybrid_cnn", {"channels": 0, "classes": 2}, "channels is 0"),
        ("hybrid_cnn", {"channels": 3, "classes": 2, "dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_hyper_parameters_that_make_no_network_are_refused(
    architecture: str, hyper_parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(architecture, **hyper_parameters)


def test_lists_from_json_are_taken_for_tuples() -> None:
    assert build("hybrid_cnn", channels=3, classes=2, widths=[4, 8]).stride == 2


def test_arguments_that_do_not_belong_together_are_refused(any_network: Network) -> None:
    x, dates, valid = season()
    for arguments, message in (
        ((x[:, :, :2], dates, valid), r"expected \(B, T, 3, H, W\)"),
        ((x, dates[:, :3], valid), r"dates has shape \(1, 3\)"),
        ((x, dates, valid.float()), "expected torch.bool"),
        ((x[:, :0], dates[:, :0], valid[:, :0]), "x is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            any_network(*arguments)
