"""The networks' contract: what is not valid never matters, order does, and a block is mapped as the whole would be."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

import models
from models import build
from models.hybrid_cnn import PUBLISHED
from models.network import Network
from models.pixel_series import PIXELS_AT_ONCE, AttentiveNetwork
from models.recurrence import Recurrence, turn_round

CHANNELS, CLASSES = 3, 4
SMALL = {
    "hybrid_cnn": {"embedding": 8, "widths": (6, 8, 10)},
    "hybrid_cnn published": {**PUBLISHED, "embedding": 16, "widths": (12, 14, 16), "decoder": (13, 12)},
    "auto_context": {
        "first": {"architecture": "tempcnn", "hyper_parameters": {"hidden": (8, 8, 8), "dense": 12, "heads": 2}},
        "widths": (6, 8, 10),
    },
    "convlstm": {"hidden": (6, 8), "patch_size": 7},
    "convlstm dense": {"hidden": (6, 8), "dense": True},
    "convrnn": {"hidden": (6, 8)},
    "convrnn gru": {"hidden": (6, 8), "cell": "gru"},
    "utae": {"widths": (8, 8, 16), "heads": 4, "keys": 3},
    "attention_unet3d": {"widths": (6, 8, 10)},
    "tempcnn": {"hidden": (8, 8, 8), "dense": 12, "heads": 2},
    "rnn": {"hidden": 6, "layers": 2},
    "atlstm": {"hidden": 6},
    "transformer": {"width": 16, "heads": 2, "layers": 2},
    "ltae": {"width": 16, "heads": 4, "keys": 3, "dense": 12},
    "resnet": {"widths": (6, 8, 8, 10)},
    "densenet": {"layers": (2, 1, 2), "growth": 4, "first_width": 8},
    "efficientnet": {"stages": 2, "width": 0.25},
    "lrcn": {"widths": (6, 8), "hidden": 10},
    "cnn3d": {"widths": (6, 8)},
    "hybrid": {
        "members": (
            {"architecture": "transformer", "hyper_parameters": {"width": 16, "heads": 2, "layers": 1}},
            {"architecture": "atlstm", "hyper_parameters": {"hidden": 6}},
        )
    },
}
"""An architecture, with a word behind it where there is another configuration of it."""


def as_member(name: str) -> dict[str, Any]:
    """A network of `SMALL` as networks that are made of others are told of it."""
    return {"architecture": name.split()[0], "hyper_parameters": SMALL[name]}


ARCHITECTURES = tuple(SMALL)
DENSE = tuple(
    name
    for name in SMALL
    if models.describe(name.split()[0], channels=CHANNELS, classes=CLASSES, **SMALL[name]).kind == "dense"
)
WITH_DATE_CHANNELS = tuple(
    name for name in SMALL if "date_harmonics" in {f.name for f in fields(models.ARCHITECTURES[name.split()[0]][0])}
)
SETS_OF_DATED_OBSERVATIONS = ("transformer", "ltae")
ATTENTIVE = tuple(name for name in SMALL if issubclass(models.ARCHITECTURES[name.split()[0]][1], AttentiveNetwork))
LEAST_STEPS = {"efficientnet": 60}
"""Its loss is small after 10 steps; the running statistics of its many batch norms follow in some 40 more."""
SEES_PIXELS_ALONE = ("tempcnn", "rnn", "atlstm", "transformer", "ltae", "hybrid")


def network(architecture: str, seed: int = 0, **hyper_parameters: object) -> Network:
    """A small network in eval mode whose batch norms have seen data, so that no layer is an identity."""
    torch.manual_seed(seed)
    settings = {**SMALL[architecture], **hyper_parameters}
    made = build(architecture.split()[0], channels=CHANNELS, classes=CLASSES, **settings)
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
@pytest.mark.parametrize("architecture", ["hybrid_cnn", *SEES_PIXELS_ALONE])
def test_each_pixel_drops_its_own_missing_dates(architecture: str) -> None:
    """Two pixels with the same three observations, one of them with a cloudy date between, are the same."""
    cnn = network(architecture)
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
@pytest.mark.parametrize("architecture", WITH_DATE_CHANNELS)
def test_day_of_season_matters_with_date_channels_and_only_then(architecture: str) -> None:
    x, dates, valid = season()
    for harmonics, matters in ((2, True), (0, False)):
        made = network(architecture, date_harmonics=harmonics)
        change = (made(x, dates + 45, valid) - made(x, dates, valid)).abs().max()
        assert bool(change > 1e-3) is matters


@torch.no_grad()
@pytest.mark.parametrize("architecture", SETS_OF_DATED_OBSERVATIONS)
def test_observations_with_their_days_are_a_set(architecture: str) -> None:
    """Dates that are handed in in another order, each with its observations, are the same season."""
    made = network(architecture)
    x, dates, valid = with_holes()
    order = [3, 0, 5, 1, 4, 2]
    assert_same(made(x[:, order], dates[:, order], valid[:, order]), made(x, dates, valid))
    later = dates.clone()
    later[:, 2:] += 45
    assert (made(x, later, valid) - made(x, dates, valid)).abs().max() > 1e-3


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


@torch.no_grad()
def test_outside_the_raster_is_the_same_padded_or_handed_in(any_network: Network) -> None:
    x, dates, valid = season(height=9, width=9)
    valid[..., 7:, :] = False
    valid[..., :, 6:] = False
    logits = any_network(x, dates, valid)
    cropped = any_network(x[..., :7, :6], dates, valid[..., :7, :6])
    assert_same(logits[..., :7, :6] if any_network.kind == "dense" else logits, cropped)


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["hybrid_cnn", *SEES_PIXELS_ALONE])
def test_encoding_in_chunks_changes_nothing(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cnn = network(architecture)
    season_with_holes = with_holes()
    at_once = cnn(*season_with_holes)
    monkeypatch.setitem(PIXELS_AT_ONCE, "cpu", 5)
    assert_same(cnn(*season_with_holes), at_once)


@torch.no_grad()
@pytest.mark.parametrize("architecture", SEES_PIXELS_ALONE)
def test_a_pixel_is_the_same_alone_and_in_an_image(architecture: str) -> None:
    made = network(architecture)
    x, dates, valid = with_holes()
    image = made(x, dates, valid)
    for row, col in ((2, 0), (6, 6), (4, 3)):
        there = (..., slice(row, row + 1), slice(col, col + 1))
        assert_same(made(x[there], dates, valid[there]), image[there])


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["hybrid_cnn", *SEES_PIXELS_ALONE])
def test_a_pixel_without_observation_has_an_embedding_of_zeros(architecture: str) -> None:
    made = network(architecture)
    x, dates, valid = season()
    features = made.features(x, dates, torch.zeros_like(valid))
    if architecture == "hybrid_cnn":
        features = features[:, :8]  # the U-Net's features stand behind the pixel's own
    assert not features.any()


@torch.no_grad()
def test_features_are_what_the_last_layer_classifies(any_network: Network) -> None:
    season_with_holes = with_holes()
    features = any_network.features(*season_with_holes)
    weight, bias = any_network.classify.weight.flatten(1), any_network.classify.bias
    logits = torch.einsum("be...,ke->bk...", features, weight)
    assert_same(logits + bias.view(-1, *[1] * (logits.ndim - 2)), any_network(*season_with_holes))


@torch.no_grad()
@pytest.mark.parametrize("architecture", ATTENTIVE)
def test_attention_is_shared_among_the_observations(architecture: str) -> None:
    made = network(architecture)
    assert isinstance(made, AttentiveNetwork)
    x, dates, valid = with_holes()
    weights = made.attention(x, dates, valid)
    assert weights.shape == (1, made.heads, 6, 7, 7)
    assert not weights.movedim(1, -1)[~valid].any()
    assert_same(weights.sum(dim=2), valid.any(dim=1, keepdim=True).float().expand(-1, made.heads, -1, -1))
    assert weights[valid.unsqueeze(1).expand_as(weights)].std() > 1e-4


@torch.no_grad()
def test_attention_stands_at_the_date_it_belongs_to() -> None:
    """Without its second date a pixel has the weights of the season that never had it, at their old places."""
    made = network("ltae")
    x, dates, valid = season(times=4, height=1, width=1)
    kept = [0, 2, 3]
    expected = made.attention(x[:, kept], dates[:, kept], valid[:, kept])
    valid[:, 1] = False
    assert_same(made.attention(x, dates, valid)[:, :, kept], expected)


def test_series_are_turned_round_in_place() -> None:
    valid = torch.tensor([[True, True, True, False], [True, False, False, False], [True, True, True, True]])
    order = turn_round(valid)
    assert order[:, :3].tolist() == [[2, 1, 0], [0, 3, 2], [3, 2, 1]]
    assert torch.equal(order.gather(1, order), torch.arange(4).expand(3, -1))


@torch.no_grad()
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrence_is_that_of_packed_sequences(cell: str, bidirectional: bool) -> None:
    torch.manual_seed(2)
    ours = Recurrence(3, 5, 2, bidirectional, cell)
    theirs = (torch.nn.LSTM if cell == "lstm" else torch.nn.GRU)(3, 5, 2, batch_first=True, bidirectional=bidirectional)
    for layer in range(2):
        for suffix, parts in (("", ours.ahead), ("_reverse", ours.back)):
            for name, weight in parts[layer].named_parameters() if len(parts) else ():
                getattr(theirs, f"{name[:-1]}{layer}{suffix}").copy_(weight)
    series, counts = torch.randn(4, 6, 3), torch.tensor([6, 1, 3, 5])
    valid = torch.arange(6) < counts[:, None]
    packed = torch.nn.utils.rnn.pack_padded_sequence(series, counts, batch_first=True, enforce_sorted=False)
    output, last = theirs(packed)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
    states = ours(series, valid)
    assert_same(states * valid.unsqueeze(-1), expected)
    last = last[0] if cell == "lstm" else last
    assert_same(ours.ends(states, valid), last[-2 if bidirectional else -1 :].movedim(0, 1).flatten(1))


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
def test_gradients_are_finite_in_half_precision(architecture: str) -> None:
    made = network(architecture).train()
    x, dates, valid = with_holes()
    with torch.autocast("cpu", torch.bfloat16):
        made(x, dates, valid).float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in made.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_learns_one_batch_by_heart(architecture: str) -> None:
    made = network(architecture, dropout=0.0).train()
    x, dates, valid = season(batch=16, height=1, width=1)
    valid = torch.rand(valid.shape) > 0.2
    valid[:, 0] = True
    target = torch.arange(16) % CLASSES
    optimiser = torch.optim.Adam(made.parameters(), lr=1e-2)
    for step in range(200):
        loss = functional.cross_entropy(made(x, dates, valid).flatten(1), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss < 1e-2 and step >= LEAST_STEPS.get(architecture, 0):
            break
    with torch.no_grad():
        assert torch.equal(made.eval()(x, dates, valid).flatten(1).argmax(dim=1), target)


@torch.no_grad()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_and_loaded_weights_give_the_same(architecture: str, tmp_path: Path) -> None:
    made, other = network(architecture), network(architecture, seed=9)
    save_file(made.state_dict(), tmp_path / "weights.safetensors")
    season_with_holes = with_holes()
    assert not torch.equal(other(*season_with_holes), made(*season_with_holes))
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other(*season_with_holes), made(*season_with_holes))


@pytest.mark.parametrize("architecture", dict.fromkeys(name.split()[0] for name in SMALL))
def test_default_size_is_small(architecture: str) -> None:
    made = build(architecture, channels=10, classes=10)
    most = 1_100_000 if architecture == "convlstm" else 500_000
    assert sum(parameter.numel() for parameter in made.parameters()) <= most


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.no_grad()
def test_processor_and_gpu_agree(any_network: Network) -> None:
    season_with_holes = with_holes()
    expected = any_network(*season_with_holes)
    found = any_network.to("cuda")(*(part.to("cuda") for part in season_with_holes)).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_seed_decides_the_weights(architecture: str) -> None:
    one, again, other = (network(architecture, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("architecture", "hyper_parameters", "message"),
    [
        ("perceptron", {}, "known are atlstm, "),
        ("convlstm", {"channels": 3}, "missing: classes. It takes channels, classes, patch_size, hidden"),
        ("convlstm", {"channels": 3, "classes": 2, "layers": 2}, "unknown: layers. It takes channels"),
        ("convlstm", {"channels": 3, "classes": 2, "patch_size": 4}, "odd number of at most 65"),
        ("convlstm", {"channels": 3, "classes": 2, "patch_size": 67}, "odd number of at most 65"),
        ("convlstm", {"channels": 3, "classes": 2, "dense": 1}, "dense is 1; expected true or false"),
        ("convlstm", {"channels": 3, "classes": 2, "reach": 1}, "reach is 1"),
        ("convrnn", {"channels": 3, "classes": 2, "cell": "lstm"}, "cell is 'lstm'; expected star or gru"),
        ("convrnn", {"channels": 3, "classes": 2, "hidden": ()}, "hidden is empty"),
        ("convlstm", {"channels": 3, "classes": 2, "hidden": ()}, "hidden is empty"),
        ("hybrid_cnn", {"channels": 3, "classes": 2, "kernel": 4}, "kernel is 4"),
        ("hybrid_cnn", {"channels": 0, "classes": 2}, "channels is 0"),
        ("hybrid_cnn", {"channels": 3, "classes": 2, "decoder": (8,)}, "expected the channels of 2 levels"),
        ("hybrid_cnn", {"channels": 3, "classes": 2, "upsampling": "cubic"}, "expected nearest or bilinear"),
        ("hybrid_cnn", {"channels": 3, "classes": 2, "dropout": 1.0}, "dropout is 1.0"),
        ("tempcnn", {"channels": 3, "classes": 2, "kernel": 4}, "kernel is 4"),
        ("tempcnn", {"channels": 3, "classes": 2, "hidden": []}, "hidden is empty"),
        ("rnn", {"channels": 3, "classes": 2, "cell": "elman"}, "cell is 'elman'; expected lstm or gru"),
        ("rnn", {"channels": 3, "classes": 2, "bidirectional": 1}, "bidirectional is 1"),
        ("transformer", {"channels": 3, "classes": 2, "width": 10, "heads": 4}, "even multiple of 4 heads"),
        ("ltae", {"channels": 3, "classes": 2, "width": 24, "heads": 16}, "multiple of twice the 16 heads"),
        ("auto_context", {"channels": 3, "classes": 2, "temperature": float("nan")}, "temperature is nan"),
        ("auto_context", {"channels": 3, "classes": 2, "temperature": float("inf")}, "temperature is inf"),
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


@torch.no_grad()
def test_days_of_a_date_that_is_valid_nowhere_never_matter(any_network: Network) -> None:
    x, dates, valid = with_holes()
    valid[:, 2] = False
    strange = dates.clone()
    strange[:, 2] = float("nan")
    assert torch.equal(any_network(x, strange, valid), any_network(x, dates, valid))


@torch.no_grad()
def test_half_precision_says_much_the_same(any_network: Network) -> None:
    season_with_holes = with_holes()
    expected = any_network(*season_with_holes)
    with torch.autocast("cpu", torch.bfloat16):
        found = any_network(*season_with_holes).float()
    assert (found - expected).abs().max() < 0.1 * expected.std()


@pytest.mark.parametrize(
    ("architecture", "settings"), [("tempcnn", {"hidden": 16}), ("ltae", {"heads": (4,)}), ("rnn", {"layers": [2]})]
)
def test_one_value_is_no_list_and_a_list_no_value(architecture: str, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected a"):
        build(architecture, channels=3, classes=2, **settings)
