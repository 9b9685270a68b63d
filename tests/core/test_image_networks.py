"""Patch networks of images: encoders of single dates, an LSTM over them, convolutions over time and space."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import densenet as monai_densenet
from monai.networks.nets import efficientnet as monai_efficientnet
from monai.networks.nets import resnet as monai_resnet
from torch import Tensor, nn
from torch.nn import functional

import models.per_date
from models import build, describe
from models.network import Network
from models.observed_convolutions import ObservedConvolutions, halved, observed_mean
from models.temporal_convolutions import ObservedBatchNorm

CHANNELS, CLASSES = 3, 4
SMALL = {
    "resnet": {"widths": (6, 8, 8, 10)},
    "densenet": {"layers": (2, 1, 2), "growth": 4, "first_width": 8},
    "efficientnet": {"stages": 3},
    "lrcn": {"widths": (6, 8), "hidden": 10},
    "cnn3d": {"widths": (6, 8)},
}
VARIANTS = {
    **{name: (name, hyper_parameters) for name, hyper_parameters in SMALL.items()},
    "resnet, early halving": (
        "resnet",
        {"widths": (6, 8, 8, 10), "first_kernel": 7, "first_stride": 2, "first_pool": True},
    ),
    "resnet, bottleneck": ("resnet", {"widths": (6, 8, 8, 10), "block": "bottleneck", "layers": (1, 2, 1, 1)}),
    "densenet, early halving": (
        "densenet",
        {"layers": (2, 1, 2), "growth": 4, "first_kernel": 7, "first_stride": 2, "first_pool": True},
    ),
    "efficientnet, all stages": ("efficientnet", {"stages": 7, "width": 0.25, "first_stride": 2}),
    "lrcn, deep": ("lrcn", {"widths": (4, 6, 8), "hidden": 6, "layers": 2}),
    "cnn3d, deep": ("cnn3d", {"widths": (4, 6, 8)}),
    "hybrid": ("cnn3d", {"widths": (6, 8), "hybrid": True, "flat_widths": (6, 8)}),
}
PER_DATE = ("resnet", "densenet", "efficientnet")
IN_ORDER = ("lrcn", "cnn3d", "hybrid")


def network(variant: str, **hyper_parameters: object) -> Network:
    """A small network in eval mode whose batch norms have seen data."""
    torch.manual_seed(0)
    architecture, small = VARIANTS[variant]
    made = build(architecture, channels=CHANNELS, classes=CLASSES, **{**small, **hyper_parameters})
    with torch.no_grad():
        for _ in range(3):
            made.train()(*season(batch=2))
    return made.eval()


def season(batch: int = 1, times: int = 5, size: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(batch, times, CHANNELS, size, size)
    dates = (torch.arange(times) * 30.0).expand(batch, times)
    return x, dates, torch.ones(batch, times, size, size, dtype=torch.bool)


def clouded(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Patches with holes; each lacks another date altogether."""
    x, dates, valid = season(batch)
    valid &= torch.rand(valid.shape) > 0.4
    for sample in range(batch):
        valid[sample, sample] = False
    return x, dates, valid


def statistics(made: Network) -> list[Tensor]:
    norms = [module for module in made.modules() if isinstance(module, ObservedBatchNorm)]
    return [part for norm in norms for part in (norm.running_mean, norm.running_var)]


def assert_same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("architecture", PER_DATE)
def test_embedding_is_the_mean_of_those_of_the_observed_dates(architecture: str) -> None:
    made = network(architecture)
    x, dates, valid = clouded(1)
    alone = [made.features(x[:, t : t + 1], dates[:, t : t + 1], valid[:, t : t + 1]) for t in range(1, 5)]
    assert not valid[:, 0].any()
    assert_same(made.features(x, dates, valid), torch.stack(alone).mean(dim=0))


@torch.no_grad()
@pytest.mark.parametrize("architecture", PER_DATE)
def test_order_is_lost_where_dates_are_averaged(architecture: str) -> None:
    made = network(architecture, date_harmonics=0)
    x, dates, valid = season()
    assert_same(made(x[:, [2, 4, 0, 1, 3]], dates, valid), made(x, dates, valid))


@torch.no_grad()
@pytest.mark.parametrize("variant", IN_ORDER)
def test_order_of_the_same_images_matters_without_date_channels(variant: str) -> None:
    made = network(variant, date_harmonics=0)
    x, dates, valid = season()
    for order in ([2, 4, 0, 1, 3], [0, 2, 1, 3, 4]):  # two neighbours that change places are enough
        assert (made(x[:, order], dates, valid) - made(x, dates, valid)).abs().max() > 1e-4


def share_right(variant: str, patches: Tensor, classes: Tensor, valid: Tensor) -> float:
    """Of the second half of the patches, after 60 steps on the first."""
    made = network(variant, dropout=0.0, date_harmonics=0).train()
    count, times = patches.shape[:2]
    dates, half = (torch.arange(times) * 10.0).expand(count, times), count // 2
    optimiser = torch.optim.Adam(made.parameters(), lr=5e-3)
    for _ in range(60):
        loss = functional.cross_entropy(made(patches[:half], dates[:half], valid[:half]), classes[:half])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found = made.eval()(patches[half:], dates[half:], valid[half:]).argmax(dim=1)
    return float((found == classes[half:]).float().mean())


@pytest.mark.parametrize("variant", IN_ORDER)
def test_learns_what_the_order_of_the_dates_alone_tells(variant: str) -> None:
    """Green before bare, and bare before green, with clouds between."""
    torch.manual_seed(3)
    classes = torch.arange(64) % 2
    level = torch.linspace(-1, 1, 8) * (1 - 2 * classes.view(-1, 1))  # (64, 8)
    patches = level.view(64, 8, 1, 1, 1) + 0.3 * torch.randn(64, 8, CHANNELS, 5, 5)
    assert share_right(variant, patches, classes, torch.rand(64, 8, 5, 5) > 0.3) > 0.9


@pytest.mark.parametrize("variant", [*PER_DATE, *IN_ORDER])
def test_learns_what_the_texture_alone_tells(variant: str) -> None:
    """Rows and columns, of the same values."""
    torch.manual_seed(3)
    classes = torch.arange(64) % 2
    rows = (torch.arange(9) % 2 * 2.0 - 1).view(9, 1).expand(9, 9)
    texture = torch.stack([rows, rows.T])[classes].view(64, 1, 1, 9, 9)
    patches = texture + 0.3 * torch.randn(64, 2, CHANNELS, 9, 9)
    assert share_right(variant, patches, classes, torch.ones(64, 2, 9, 9, dtype=torch.bool)) > 0.9


@pytest.mark.parametrize("variant", ["cnn3d", "hybrid"])
def test_kernels_reach_over_three_dates(variant: str) -> None:
    """The gradient of one position after one convolution has a part at the dates before and after."""
    made = network(variant)
    layers = [module for module in made.modules() if isinstance(module, nn.Conv3d)]
    assert [layer.kernel_size for layer in layers] == [(3, 3, 3)] * 2
    first = made.convolutions.convolutions[0]
    x = torch.randn(1, first.in_channels, 7, 3, 3, requires_grad=True)
    first(x)[:, :, 3, 1, 1].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum(dim=(0, 1, 3, 4)).nonzero().flatten().tolist() == [2, 3, 4]


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
def test_patches_are_the_same_alone_and_in_a_batch(variant: str) -> None:
    """Each lacks another date, and one all of them."""
    made = network(variant)
    x, dates, valid = clouded(4)
    valid[2] = False
    together = made(x, dates, valid)
    for sample in range(4):
        one = slice(sample, sample + 1)
        assert_same(together[one], made(x[one], dates[one], valid[one]))
    assert not made.features(x, dates, valid)[2].any()


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_missing_date_is_skipped_wherever_it_is(variant: str) -> None:
    made = network(variant)
    x, dates, valid = season()
    for missing in (0, 2, 4):
        kept = [t for t in range(5) if t != missing]
        gap = valid.clone()
        gap[:, missing] = False
        assert_same(made(x, dates, gap), made(x[:, kept], dates[:, kept], valid[:, kept]))


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("rows", "columns"), [(9, 9), (8, 5), (7, 6), (1, 2)])
def test_outside_the_raster_is_the_same_padded_or_not_handed_in(variant: str, rows: int, columns: int) -> None:
    made = network(variant)
    x, dates, valid = clouded(2)
    valid[:, :2] = True
    valid[..., rows:, :] = False
    valid[..., :, columns:] = False
    assert_same(made(x, dates, valid), made(x[..., :rows, :columns], dates, valid[..., :rows, :columns]))


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_statistics_are_those_of_what_was_observed(variant: str) -> None:
    """Neither dates without an observation nor pixels outside the raster have a part in them."""
    x, dates, valid = season(batch=3)
    valid[..., 7:, :] = False
    valid[..., :, 6:] = False
    valid[:, 3] = False
    kept = [0, 1, 2, 4]
    made, other = network(variant).train(), network(variant).train()
    before = [part.clone() for part in statistics(made)]
    made(x, dates, valid)
    other(x[:, kept, :, :7, :6], dates[:, kept], valid[:, kept, :7, :6])
    for found, expected in zip(statistics(made), statistics(other), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not any(torch.equal(part, now) for part, now in zip(before, statistics(made), strict=True))


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
def test_encoding_in_chunks_changes_nothing(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = network(variant)
    patches = clouded(3)
    at_once = made(*patches)
    for most in (1, 200):
        monkeypatch.setitem(models.per_date.PIXELS_AT_ONCE, "cpu", most)
        assert_same(made(*patches), at_once)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_keep_the_contract(variant: str) -> None:
    """Any size and any number of dates; finite gradients that reach every weight; training on one pixel."""
    made = network(variant)
    with torch.no_grad():
        for times, height, width in ((1, 1, 1), (2, 3, 10), (80, 5, 4)):
            x = torch.randn(1, times, CHANNELS, height, width)
            dates = torch.arange(times).float().unsqueeze(0)
            assert made(x, dates, torch.ones(1, times, height, width, dtype=torch.bool)).isfinite().all()
    made.train()
    one = season(times=1, size=1)
    assert made(*one).isfinite().all()
    made(*clouded(4)).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_networks_have_the_published_size() -> None:
    """Parameters of ResNet-18, ResNet-50, DenseNet-121 and EfficientNet-B0 for three channels and 1000 classes."""
    one_image = {"channels": 2, "classes": 1000, "date_harmonics": 0}  # and the channel that says where
    first = {"first_kernel": 7, "first_stride": 2, "first_pool": True}
    wide = {"widths": (64, 128, 256, 512), **first}
    dense = {"layers": (6, 12, 24, 16), "growth": 32, "first_width": 64, **first}
    b0 = {"width": 1.0, "stages": 7, "first_stride": 2, "drop_connect": 0.2}
    for ours, theirs, published in (
        (
            describe("resnet", **one_image, **wide, layers=(2, 2, 2, 2)),
            monai_resnet.resnet18(spatial_dims=2, n_input_channels=3, num_classes=1000, bias_downsample=False),
            11_689_512,
        ),
        (
            describe("resnet", **one_image, **wide, layers=(3, 4, 6, 3), block="bottleneck"),
            monai_resnet.resnet50(spatial_dims=2, n_input_channels=3, num_classes=1000, bias_downsample=False),
            25_557_032,
        ),
        (
            describe("densenet", **one_image, **dense),
            monai_densenet.DenseNet121(spatial_dims=2, in_channels=3, out_channels=1000),
            7_978_856,
        ),
        (
            describe("efficientnet", **one_image, **b0),
            monai_efficientnet.EfficientNetBN("efficientnet-b0", pretrained=False),
            5_288_548,
        ),
    ):
        assert parameters(ours) == parameters(theirs) == published


def theirs(architecture: str) -> nn.Module:
    """MONAI's own without the last layer, of four channels, as `early halving` and an EfficientNet of three stages."""
    if architecture == "resnet":
        return monai_resnet.ResNet(
            "basic", [1, 1, 1, 1], [6, 8, 8, 10], 2, 4, conv1_t_stride=2, feed_forward=False, bias_downsample=False
        )
    if architecture == "densenet":
        made = monai_densenet.DenseNet(2, 4, 1, init_features=32, growth_rate=4, block_config=(2, 1, 2))
        made.class_layers.out = nn.Identity()
        return made
    blocks = ["r1_k3_s11_e1_i32_o16_se0.25", "r2_k3_s22_e6_i16_o24_se0.25", "r2_k5_s22_e6_i24_o40_se0.25"]
    made = monai_efficientnet.EfficientNet(
        blocks, 2, 4, width_coefficient=0.25, dropout_rate=0.0, image_size=65, drop_connect_rate=0.0
    )
    made._fc = nn.Identity()
    return made


@torch.no_grad()
@pytest.mark.parametrize(
    ("architecture", "hyper_parameters", "size"),
    [
        ("resnet", VARIANTS["resnet, early halving"][1], 65),
        ("densenet", VARIANTS["densenet, early halving"][1], 64),
        ("efficientnet", {"stages": 3, "width": 0.25, "first_stride": 2}, 65),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_a_whole_image_is_encoded_as_by_monai(
    architecture: str, hyper_parameters: dict[str, object], size: int, training: bool
) -> None:
    torch.manual_seed(0)
    monai = theirs(architecture)
    ours = build(architecture, channels=CHANNELS, classes=CLASSES, **{**hyper_parameters, "date_harmonics": 0})
    x, dates, valid = season(batch=2, times=1, size=size)
    ours.train()(x, dates, valid)
    monai.load_state_dict(ours.encoder.state_dict())
    monai.train(training)
    ours.train(training)
    expected = monai(torch.cat([x[:, 0], torch.ones(2, 1, size, size)], dim=1))
    torch.testing.assert_close(ours.features(x, dates, valid), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.01


@torch.no_grad()
def test_running_statistics_forget_what_they_were_before_training() -> None:
    """After one batch they are that batch's; later ones are averaged, then count a tenth."""
    made = build("resnet", channels=CHANNELS, classes=CLASSES, **SMALL["resnet"]).train()
    norm = made.encoder.bn1
    seen: list[Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].mean(dim=(0, 2, 3))))
    for _ in range(2):
        made(*season(batch=2))
    torch.testing.assert_close(norm.running_mean, (seen[0] + seen[1]) / 2)
    for _ in range(20):
        made(*season(batch=2))
    assert norm.momentum == 0.1


@torch.no_grad()
def test_halved_has_what_any_of_its_four_had() -> None:
    observed = torch.zeros(1, 3, 5, dtype=torch.bool)
    observed[0, 1, 0] = observed[0, 2, 4] = True
    assert halved(observed).tolist() == [[[True, False, False], [False, False, True]]]
    assert halved(observed.unsqueeze(1).expand(-1, 3, -1, -1)).shape == (1, 2, 2, 3)


def test_observed_mean_is_zero_where_nothing_was_observed() -> None:
    features = torch.tensor([[[1.0, 2.0, 6.0]], [[5.0, 5.0, 5.0]]])
    observed = torch.tensor([[True, False, True], [False, False, False]])
    assert observed_mean(features, observed).tolist() == [[3.5], [0.0]]


@torch.no_grad()
@pytest.mark.parametrize("axes", [2, 3])
def test_convolutions_are_zero_where_nothing_was_observed(axes: int) -> None:
    torch.manual_seed(0)
    convolutions = ObservedConvolutions(axes, (2, 3, 4)).eval()
    observed = torch.rand(2, *[5] * axes) > 0.7
    features, where = convolutions(torch.randn(2, 2, *[5] * axes) * observed.unsqueeze(1), observed)
    assert features.shape == (2, 4, *[3] * axes)
    assert torch.equal(where, halved(observed))
    assert not features.movedim(1, -1)[~where].any()
    assert (features >= 0).all()


@torch.no_grad()
def test_observed_dates_stand_at_the_front_in_their_order() -> None:
    x, dates, valid = season(batch=3, times=4, size=1)
    valid[0, 1] = valid[1, 0] = valid[1, 3] = valid[2] = False
    values, days, there = models.per_date.observed_dates(x, dates, valid)
    assert days.shape == (3, 3)
    assert there.flatten(1).tolist() == [[True, True, True], [True, True, False], [False, False, False]]
    assert days[0].tolist() == [0, 60, 90]
    assert days[1, :2].tolist() == [30, 60]
    assert torch.equal(values[1, :2], x[1, 1:3])


@pytest.mark.parametrize(
    ("architecture", "hyper_parameters", "message"),
    [
        *((name, {"patch_size": 8}, "patch_size is 8; expected an odd number of at most 65") for name in SMALL),
        *((name, {"patch_size": 67}, "patch_size is 67") for name in SMALL),
        *((name, {"dropout": 1.0}, "dropout is 1.0") for name in SMALL),
        ("resnet", {"block": "wide"}, "block is 'wide'; expected basic or bottleneck"),
        ("resnet", {"layers": (1, 1)}, "expected four stages"),
        ("resnet", {"first_kernel": 4}, "first_kernel is 4; expected an odd number"),
        ("resnet", {"first_stride": 3}, "first_stride is 3; expected 1 or 2"),
        ("densenet", {"first_pool": 1}, "first_pool is 1; expected true or false"),
        ("densenet", {"layers": ()}, "layers is empty"),
        ("efficientnet", {"width": 0}, "width is 0; expected a number above 0"),
        ("efficientnet", {"depth": 9.0}, "depth is 9.0; expected a number above 0 and up to 8"),
        ("efficientnet", {"stages": 8}, "stages is 8; expected at most 7"),
        ("efficientnet", {"drop_connect": 1.5}, "drop_connect is 1.5"),
        ("lrcn", {"widths": ()}, "widths is empty"),
        ("cnn3d", {"hybrid": 1}, "hybrid is 1; expected true or false"),
        ("cnn3d", {"flat_widths": ()}, "flat_widths is empty"),
    ],
)
def test_hyper_parameters_that_make_no_network_are_refused(
    architecture: str, hyper_parameters: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(architecture, channels=3, classes=2, **hyper_parameters)
