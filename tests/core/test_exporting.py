"""Exported programs say what the networks say, of any number of samples, with holes and with nothing observed."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.export import load, save

import models
from models.exporting import export_program, sees_pixels_alone
from models.network import Network
from tests.core.made_of_networks import MADE_OF_NETWORKS, made_of_networks
from tests.core.test_networks import CHANNELS, CLASSES, SMALL, network, season, with_holes

NOT_EXPORTED: tuple[str, ...] = ()
"""Architectures that cannot be exported, each with its reason."""
ALL = (*SMALL, *MADE_OF_NETWORKS)
Example = tuple[Tensor, Tensor, Tensor]


def made(name: str) -> Network:
    return made_of_networks(name) if name in MADE_OF_NETWORKS else network(name)


def as_series(x: Tensor, dates: Tensor, valid: Tensor) -> Example:
    """The pixels of the first sample as series."""
    _, times, channels, height, width = x.shape
    series = x[0].permute(2, 3, 0, 1).reshape(height * width, times, channels)
    return series, dates[:1].expand(height * width, -1), valid[0].permute(1, 2, 0).reshape(height * width, times)


def observations_first(x: Tensor, dates: Tensor, valid: Tensor) -> Example:
    order = torch.argsort(~valid, dim=1, stable=True)
    return x.gather(1, order.unsqueeze(-1).expand_as(x)), dates.gather(1, order), valid.gather(1, order)


def said(program: Callable[..., Tensor], network: Network, example: Example) -> Tensor:
    """What an exported program says of the first sample, as the network would."""
    if not sees_pixels_alone(network):
        return program(*example)[:1]
    height, width = example[0].shape[-2:]
    return program(*as_series(*example)).T.reshape(1, -1, height, width)


def test_all_architectures_are_tried() -> None:
    assert set(ALL) == set(models.ARCHITECTURES)


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in ALL if name not in NOT_EXPORTED])
def test_a_program_says_what_the_network_says(name: str) -> None:
    torch.manual_seed(3)
    there = made(name)
    file = io.BytesIO()
    save(export_program(there, times=6, height=7, width=7), file)
    file.seek(0)
    program = load(file).module()
    x, dates, valid = with_holes()
    assert not valid[..., 0, 0].any()
    for example in (
        (x, dates, valid),
        tuple(part.expand(5, *[-1] * (part.ndim - 1)) for part in season()),
        (torch.where(valid.unsqueeze(2), x, float("nan")), dates, valid),
        (x, dates, torch.zeros_like(valid)),
    ):
        expected = there(*example)[:1]
        assert expected.std() > 0
        torch.testing.assert_close(said(program, there, example), expected, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in SMALL if name not in NOT_EXPORTED])
def test_fewer_dates_are_dates_that_are_valid_nowhere(name: str) -> None:
    there = made(name)
    program = export_program(there, times=8, height=7, width=7).module()
    x, dates, valid = season()
    longer = (
        torch.cat([x, torch.ones_like(x[:, :2])], dim=1),
        torch.cat([dates, torch.zeros(1, 2)], dim=1),
        torch.cat([valid, torch.zeros_like(valid[:, :2])], dim=1),
    )
    torch.testing.assert_close(said(program, there, longer), there(x, dates, valid), rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["tempcnn", "atlstm", "transformer", "feature_trees"])
def test_series_may_have_their_observations_first(name: str) -> None:
    there = made(name)
    program = export_program(there, times=6).module()
    example = with_holes()
    in_order = said(program, there, example)
    first = program(*observations_first(*as_series(*example)))
    torch.testing.assert_close(first.T.reshape(in_order.shape), in_order, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["tempcnn", "hybrid_cnn", "convlstm"])
def test_normalisation_and_calibration_are_part_of_the_program(name: str) -> None:
    there = made(name)
    mean, std = (0.1, 0.2, 0.5), (0.05, 0.1, 0.25)
    program = export_program(there, 6, 7, 7, (mean, std), temperature=1.7).module()
    x, dates, valid = with_holes()
    shape = (1, 1, CHANNELS, 1, 1)
    measured = x * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)
    expected = torch.softmax(there(x, dates, valid) / 1.7, dim=1)
    torch.testing.assert_close(said(program, there, (measured, dates, valid)), expected, rtol=0, atol=1e-4)
    assert expected.shape[1] == CLASSES


def test_a_network_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match=r"call eval\(\)"):
        export_program(network("tempcnn").train(), times=6)
