"""Fast forms say what the networks say that they were made of, whatever is missing and however blocks are cut."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import models
from cropmap_core.inference.devices import full_float32
from models.faster import TwoStages, faster, fused, has_bfloat16
from models.faster.pixel_network import FasterPixelNetwork
from models.faster.reach import measured_reach
from models.faster.regions import Region
from models.faster.series import VALUES_AT_ONCE
from models.faster.unet import PIXELS_AT_ONCE
from models.hybrid_cnn import PUBLISHED
from models.network import Network

CHANNELS, CLASSES = 3, 4
TEMPCNN = {"hidden": (8, 8, 8), "dense": 12, "heads": 2}
LTAE = {"width": 16, "heads": 4, "keys": 3, "dense": 12}
HYBRID = {"embedding": 8, "widths": (6, 8, 10)}


def members(*named: tuple[str, dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"architecture": name, "hyper_parameters": settings, "temperature": 0.8 + 0.3 * place}
        for place, (name, settings) in enumerate(named)
    )


PIXEL_MEMBERS = members(("tempcnn", TEMPCNN), ("ltae", LTAE))
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "hybrid_cnn": ("hybrid_cnn", HYBRID),
    "hybrid_cnn two convolutions": ("hybrid_cnn", {**HYBRID, "convolutions": 2, "shortcut": False}),
    "hybrid_cnn one level": ("hybrid_cnn", {**HYBRID, "widths": (6,)}),
    "hybrid_cnn published": (
        "hybrid_cnn",
        {**PUBLISHED, "embedding": 8, "widths": (6, 8, 10, 12), "decoder": (9, 7, 5)},
    ),
    "tempcnn": ("tempcnn", TEMPCNN),
    "ltae": ("ltae", LTAE),
    "ensemble": ("ensemble", {"members": PIXEL_MEMBERS}),
    "ensemble stacked": ("ensemble", {"members": PIXEL_MEMBERS, "combine": "stacked"}),
    "ensemble of neighbours": ("ensemble", {"members": members(("hybrid_cnn", HYBRID), ("ltae", LTAE))}),
    "auto_context": (
        "auto_context",
        {
            "first": {"architecture": "ensemble", "hyper_parameters": {"members": PIXEL_MEMBERS}},
            "temperature": 0.9,
            "widths": (6, 8, 10),
        },
    ),
    "auto_context of neighbours": (
        "auto_context",
        {"first": {"architecture": "hybrid_cnn", "hyper_parameters": {**HYBRID, "widths": (6,)}}, "widths": (6, 8)},
    ),
    "convrnn": ("convrnn", {"hidden": (6,)}),
    "transformer": ("transformer", {"width": 16, "heads": 2, "layers": 1}),
}
FAST = tuple(name for name in NETWORKS if name not in ("auto_context of neighbours", "convrnn", "transformer"))

Season = tuple[Tensor, Tensor, Tensor]


def season(batch: int = 2, times: int = 6, height: int = 13, width: int = 10) -> Season:
    x = torch.randn(batch, times, CHANNELS, height, width)
    dates = (torch.arange(times) * 30.0).expand(batch, times)
    return x, dates, torch.ones(batch, times, height, width, dtype=torch.bool)


def hidden(season: Season, where: Tensor) -> Season:
    """Without the pixel-dates named: not valid, and zero as `logits` gets them."""
    x, dates, valid = season
    valid = valid & ~where
    return x * valid.unsqueeze(2), dates, valid


def with_gaps() -> Season:
    one = season()
    return hidden(one, torch.rand(one[2].shape) < 0.3)


def with_unobserved() -> Season:
    """Pixels have all dates or none, as where gaps are filled."""
    one = season()
    return hidden(one, torch.rand(2, 1, 13, 10) < 0.4)


def with_lost_date() -> Season:
    one = season()
    return hidden(one, (torch.arange(6) == 2).view(1, 6, 1, 1))


def with_all_of_it() -> Season:
    one = with_gaps()
    x, dates, valid = hidden(one, torch.rand(2, 1, 13, 10) < 0.3)
    return hidden((x, dates, valid), torch.arange(2).view(2, 1, 1, 1) == 1)  # the second was never observed


SEASONS = {
    "complete": season,
    "gaps": with_gaps,
    "unobserved pixels": with_unobserved,
    "a date that no pixel has": with_lost_date,
    "nothing observed in one of two": with_all_of_it,
    "one date": lambda: season(times=1),
    "one pixel": lambda: season(height=1, width=1),
    "whole strides": lambda: season(batch=1, height=16, width=24),
}


def trained(name: str) -> Network:
    """A small network whose batch norms have seen data, so that no layer is an identity."""
    torch.manual_seed(3)
    architecture, settings = NETWORKS[name]
    made = models.build(architecture, channels=CHANNELS, classes=CLASSES, **settings)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # no scale is 1, no shift is 0
        for _ in range(3):
            made.train()(*season())
    return made.eval()


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    return trained(request.param)


@pytest.fixture(params=[True, False], ids=["oneDNN", "no oneDNN"])
def onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it layers are computed as they are on GPUs."""
    if not request.param:
        monkeypatch.setattr(fused, "_fuses", lambda dtype: False)
    elif not fused._fuses(torch.float32):
        pytest.skip("torch was built without oneDNN")


@torch.inference_mode()
@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("kind", SEASONS)
def test_fast_forms_say_the_same(network: Network, kind: str) -> None:
    given = SEASONS[kind]()
    expected = network(*given)
    assert expected.std() > 0.01
    torch.testing.assert_close(faster(network).logits(*given), expected, rtol=0, atol=2e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.inference_mode()
@pytest.mark.parametrize("kind", SEASONS)
def test_fast_forms_say_the_same_on_cuda(network: Network, kind: str) -> None:
    given = SEASONS[kind]()
    expected = network(*given)
    with full_float32():
        found = faster(network.to("cuda")).logits(*(part.to("cuda") for part in given))
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.inference_mode()
@pytest.mark.parametrize("kind", ["complete", "gaps", "unobserved pixels"])
def test_half_precision_says_almost_the_same_on_cuda(network: Network, kind: str) -> None:
    x, dates, valid = SEASONS[kind]()
    expected = network(x, dates, valid)
    fast = faster(network.to("cuda"), torch.bfloat16)
    found = fast.logits(x.to("cuda", torch.bfloat16), dates.to("cuda"), valid.to("cuda")).cpu()
    assert (found.softmax(1) - expected.softmax(1)).abs().max() < 0.01


@torch.inference_mode()
@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("kind", ["complete", "gaps", "unobserved pixels"])
def test_half_precision_says_almost_the_same(network: Network, kind: str) -> None:
    x, dates, valid = SEASONS[kind]()
    found = faster(network, torch.bfloat16).logits(x.bfloat16(), dates, valid)
    assert found.dtype == torch.float32
    expected = network(x, dates, valid)
    assert (found.softmax(1) - expected.softmax(1)).abs().max() < 0.01


@torch.inference_mode()
@pytest.mark.parametrize("name", FAST)
def test_pieces_of_any_size_say_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 256 pixels, and stripes of 8 rows, against everything at once."""
    fast = faster(trained(name))
    given = hidden(season(batch=1, height=40, width=19), torch.rand(1, 6, 40, 19) < 0.1)
    whole = fast.logits(*given).clone()
    monkeypatch.setitem(VALUES_AT_ONCE, "cpu", 1)
    monkeypatch.setitem(PIXELS_AT_ONCE, "cpu", 1)
    torch.testing.assert_close(fast.logits(*given), whole, rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["complete", "gaps"])
def test_the_inside_is_cut_out_of_the_whole(network: Network, kind: str) -> None:
    fast, given = faster(network), SEASONS[kind]()
    whole = fast.logits(*given).clone()
    for inside in (Region(0, 3, 0, 4), Region(4, 9, 3, 8), Region(12, 13, 9, 10)):
        found = fast.logits_inside(*given, inside)
        cut = whole[..., inside.top : inside.bottom, inside.left : inside.right]
        torch.testing.assert_close(found, cut, rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("name", FAST)
def test_order_in_memory_does_not_matter(name: str) -> None:
    fast = faster(trained(name))
    x, dates, valid = with_gaps()
    last = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)  # (B, T, C, H, W), channels last in memory
    torch.testing.assert_close(fast.logits(last, dates, valid), fast.logits(x, dates, valid), rtol=0, atol=1e-5)


def test_fast_forms_are_known_as_the_networks_are(network: Network) -> None:
    fast = faster(network)
    for name in ("kind", "channels", "classes", "stride", "receptive_radius", "patch_size", "halo"):
        assert getattr(fast, name) == getattr(network, name)


def test_pixel_members_are_seen_together() -> None:
    """An ensemble of pixel networks is one: its members see the same pixels while these are in the caches."""
    assert isinstance(faster(trained("ensemble")), FasterPixelNetwork)
    assert not isinstance(faster(trained("ensemble of neighbours")), FasterPixelNetwork)


def test_only_pixels_seen_alone_are_a_stage_of_their_own() -> None:
    """Parts of a map are given the first stage's image of their neighbours: it must not depend on where parts end."""
    assert isinstance(faster(trained("auto_context")), TwoStages)
    assert not isinstance(faster(trained("auto_context of neighbours")), TwoStages)


TREES = {"times": 6, "trees": 2, "nodes": 0, "leaves": 1, "depth": 0, "averaged": False}


@pytest.mark.parametrize(
    ("kind", "settings", "has"),
    [
        *((*NETWORKS[name], True) for name in FAST),
        (*NETWORKS["auto_context of neighbours"], False),
        (*NETWORKS["transformer"], False),
        ("ensemble", {"members": members(("tempcnn", TEMPCNN), ("tree_ensemble", TREES))}, False),
        ("auto_context", {"first": {"architecture": "tree_ensemble", "hyper_parameters": TREES}}, False),
    ],
)
def test_channels_are_rounded_where_all_of_a_network_computes_so(
    kind: str, settings: dict[str, Any], has: bool
) -> None:
    assert has_bfloat16(models.build(kind, channels=CHANNELS, classes=CLASSES, **settings)) == has


@torch.inference_mode()
def test_blocks_of_one_embedding_say_the_same() -> None:
    """A U-Net over parts of a wide block, each with its halo, against the block at once."""
    fast = faster(trained("hybrid_cnn"))
    x, dates, valid = season(batch=1, height=64, width=96)
    whole = fast.logits(x, dates, valid)[0].permute(1, 2, 0).clone()
    image, observed = fast.embed_pixels(x[0], dates[0], valid[0]), valid[0].any(dim=0)
    for left in (0, 48):
        first, last = max(left - fast.halo, 0), min(left + 48 + fast.halo, 96)
        logits = torch.empty(64, 48, CLASSES)
        inside = Region(0, 64, left - first, left - first + 48)
        fast.classify_image(image[:, first:last], observed[:, first:last], inside, logits)
        torch.testing.assert_close(logits, whole[:, left : left + 48], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [*FAST, "convrnn"])
def test_they_are_made_of_networks_on_devices_without_float64(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's GPU: what is computed in float64 is so on the processor, and all of it goes back to the device."""
    elsewhere, double = torch.device("meta"), Tensor.double

    def double_here(weight: Tensor) -> Tensor:
        if weight.device == elsewhere:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return double(weight)

    network = trained(name).to(elsewhere)
    monkeypatch.setattr(Tensor, "double", double_here)
    monkeypatch.setattr(Tensor, "cpu", lambda weight: torch.ones(weight.shape, dtype=weight.dtype))
    made = faster(network)
    assert {part.device for part in (*made.parameters(), *made.buffers())} == {elsewhere}


class Blur(Network):
    """Sees 5 pixels in each direction, and is thought to see 12."""

    kind, channels, classes, stride, receptive_radius = "dense", 1, 2, 4, 12

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        blurred = torch.nn.functional.avg_pool2d(x[:, 0], 11, stride=1, padding=5)
        return torch.cat([blurred, -blurred], dim=1)

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        return x[:, 0]


def test_reach_is_measured() -> None:
    """A block needs the 5 pixels around it that are looked at, in whole strides."""
    x, dates, valid = torch.rand(1, 1, 1, 40, 36), torch.zeros(1, 1), torch.ones(1, 1, 40, 36, dtype=torch.bool)
    assert measured_reach(Blur(), x, dates, valid) == 8
    assert measured_reach(Blur(), x, dates, valid, tolerance=1.0) == 0
    assert measured_reach(Blur(), torch.zeros_like(x), dates, valid) == 0
    with pytest.raises(ValueError, match="at least 28"):
        measured_reach(Blur(), x[..., :27, :], dates, valid[..., :27, :])


@torch.inference_mode()
@pytest.mark.parametrize("name", ["hybrid_cnn", "tempcnn"])
def test_nothing_stays_from_the_season_before(name: str) -> None:
    """The memory of date channels is used again: other days, gaps and shapes follow one another."""
    network = trained(name)
    fast = faster(network)
    for kind in ("complete", "gaps", "complete", "one date", "complete", "a date that no pixel has", "complete"):
        x, dates, valid = SEASONS[kind]()
        for days in (dates, dates + 45):
            torch.testing.assert_close(fast.logits(x, days, valid), network(x, days, valid), rtol=0, atol=2e-5)


@torch.inference_mode()
def test_a_copy_says_the_same() -> None:
    fast = faster(trained("auto_context"))
    given = season()
    assert torch.equal(copy.deepcopy(fast).logits(*given), fast.logits(*given))


def test_memory_of_one_mode_serves_another() -> None:
    fast, given = faster(trained("hybrid_cnn")), season()
    with torch.inference_mode():
        expected = fast.logits(*given)
    with torch.no_grad():
        assert torch.equal(fast.logits(*given), expected)
