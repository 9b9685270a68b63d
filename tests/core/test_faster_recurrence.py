"""The faster form of convolutional recurrence: the same numbers, whatever is missing and however images are cut."""

from __future__ import annotations

import pytest
import torch

from cropmap_core.inference.devices import full_float32
from models.faster import convolutional_recurrence
from models.faster.convolutional_recurrence import faster_recurrence
from tests.core.test_networks import assert_same, network, season, with_holes
from tests.core.test_spatial_networks import fields

RECURRENT = ("convlstm", "convlstm dense", "convrnn", "convrnn gru")


@pytest.fixture(params=[2**20, 1], ids=["one strip", "row by row"])
def strips(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(convolutional_recurrence.GATES_AT_ONCE, "cpu", request.param)


@torch.no_grad()
@pytest.mark.usefixtures("strips")
@pytest.mark.parametrize("architecture", RECURRENT)
def test_numbers_are_those_of_the_network(architecture: str) -> None:
    made = network(architecture)
    faster = faster_recurrence(made)
    for given in (season(), season(batch=3, times=2, height=6, width=9), season(times=1, height=1, width=1)):
        assert_same(faster(*given), made(*given))
    x, dates, valid = with_holes(height=9)
    valid[:, 3] = False
    x = torch.where(valid.unsqueeze(2), x, torch.nan)
    assert_same(faster(x, dates, valid), made(x, dates, valid))
    assert_same(faster.features(x, dates, valid), made.features(x, dates, valid))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.no_grad()
@pytest.mark.parametrize("architecture", RECURRENT)
def test_numbers_are_the_same_on_cuda(architecture: str) -> None:
    made, given = network(architecture), with_holes(height=9)
    expected = made(*given)
    with full_float32():
        found = faster_recurrence(made.to("cuda"))(*(part.to("cuda") for part in given))
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("architecture", RECURRENT)
def test_channels_may_lie_last_in_memory(architecture: str) -> None:
    made = network(architecture)
    x, dates, valid = season(batch=2)
    channels_last = x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    assert_same(faster_recurrence(made)(channels_last, dates, valid), made(x, dates, valid))


@torch.no_grad()
@pytest.mark.parametrize("architecture", RECURRENT)
def test_bfloat16_rounds_and_no_more(architecture: str) -> None:
    """Of random weights, where no class is far ahead: probabilities differ, and by less than half a percent."""
    made = network(architecture)
    x, dates, valid = fields(2, 24)[0], *(part.expand(2, *part.shape[1:]) for part in season(1, 12, 24, 24)[1:])
    exact, rounded = (each(x, dates, valid).softmax(dim=1) for each in (made, faster_recurrence(made, torch.bfloat16)))
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 5e-3


@torch.no_grad()
def test_the_network_itself_stays_as_it_is() -> None:
    made = network("convlstm dense")
    x, dates, valid = with_holes()
    before = made(x, dates, valid)
    faster = faster_recurrence(made, torch.bfloat16)
    assert (faster.kind, faster.halo, faster.channels, faster.classes) == ("dense", 12, made.channels, made.classes)
    assert torch.equal(made(x, dates, valid), before)
    assert not torch.equal(faster(x, dates, valid), before)


def test_other_networks_have_no_such_form() -> None:
    with pytest.raises(TypeError, match="LTAE is not made of convolutional cells"):
        faster_recurrence(network("ltae"))
