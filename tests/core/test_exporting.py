"""Exported programs say what the networks say, of any number of samples, with holes and with nothing observed."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.export import load, save

import models
from cropmap_core.commands.exporting import DESCRIPTION
from cropmap_core.inference.bundles import Bundle
from cropmap_core.inference.channels import sample_channels
from cropmap_core.inference.predictor import Predictor
from models.exporting import NotExportableError, export_program, sees_pixels_alone
from models.network import Network
from tests.core.made_of_networks import MADE_OF_NETWORKS, ensemble, feature_trees, made_of_networks
from tests.core.seam import run_here
from tests.core.test_networks import CHANNELS, CLASSES, SMALL, network, season, with_holes
from tests.core.tiny_models import HYPER_PARAMETERS, save_tiny_bundle

NOT_EXPORTED: dict[str, str] = {}
"""Architectures that cannot be exported, each with its reason."""
ALL = (*SMALL, *MADE_OF_NETWORKS)
OTHER_CONFIGURATIONS: dict[str, tuple[str, dict[str, object]]] = {
    "convolutions over space behind time": ("cnn3d", {"widths": (6, 8), "hybrid": True, "flat_widths": (8, 6)}),
    "bottlenecks and a first maximum": (
        "resnet",
        {"widths": (4, 4, 6, 6), "block": "bottleneck", "first_kernel": 7, "first_stride": 2, "first_pool": True},
    ),
    "one level": ("utae", {"widths": (8,), "heads": 4, "keys": 3}),
    "two LSTMs": ("lrcn", {"widths": (6, 8), "hidden": 10, "layers": 2}),
}
"""What takes another path through the networks than those of `SMALL`."""
Example = tuple[Tensor, Tensor, Tensor]


class Branching(Network):
    """Cannot be exported."""

    kind, channels, classes = "dense", CHANNELS, CLASSES

    def logits(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        return x[:, 0] if x.sum() > 0 else x[:, 1]

    def embed(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        return self.logits(x, dates, valid)


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
    assert {name.split()[0] for name in ALL} == set(models.ARCHITECTURES)


@cache
@torch.no_grad()
def exported(name: str) -> tuple[Network, Callable[..., Tensor]]:
    """A network, and its program for eight dates, or for as many as its trees know, saved and loaded again."""
    torch.manual_seed(3)
    there = made(name)
    file = io.BytesIO()
    save(export_program(there, times=6 if name in MADE_OF_NETWORKS else 8, height=7, width=7), file)
    file.seek(0)
    return there, load(file).module()


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in ALL if name not in NOT_EXPORTED])
def test_a_program_says_what_the_network_says(name: str) -> None:
    there, program = exported(name)
    times = 6 if name in MADE_OF_NETWORKS else 8
    x, dates, valid = with_holes(times)
    assert not valid[..., 0, 0].any()
    for example in (
        (x, dates, valid),
        tuple(part.expand(5, *[-1] * (part.ndim - 1)) for part in season(times=times)),
        (torch.where(valid.unsqueeze(2), x, float("nan")), dates, valid),
        (x, dates, torch.zeros_like(valid)),
    ):
        expected = there(*example)[:1]
        assert expected.std() > 0
        torch.testing.assert_close(said(program, there, example), expected, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name in SMALL if name not in NOT_EXPORTED])
def test_fewer_dates_are_dates_that_are_valid_nowhere(name: str) -> None:
    there, program = exported(name)
    x, dates, valid = season()
    longer = (
        torch.cat([x, torch.ones_like(x[:, :2])], dim=1),
        torch.cat([dates, torch.zeros(1, 2)], dim=1),
        torch.cat([valid, torch.zeros_like(valid[:, :2])], dim=1),
    )
    torch.testing.assert_close(said(program, there, longer), there(x, dates, valid), rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", OTHER_CONFIGURATIONS)
def test_other_configurations_are_exported_too(name: str) -> None:
    torch.manual_seed(3)
    architecture, hyper_parameters = OTHER_CONFIGURATIONS[name]
    there = models.build(architecture, channels=CHANNELS, classes=CLASSES, **hyper_parameters)
    there.train()(*season(batch=2))
    there.eval()
    program = export_program(there, times=6, height=7, width=7).module()
    x, dates, valid = with_holes()
    valid[:, 2] = False
    torch.testing.assert_close(program(x, dates, valid), there(x, dates, valid), rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("made_of", [ensemble("stacked", ("tempcnn", "hybrid_cnn")), feature_trees("hybrid_cnn")])
def test_what_is_made_of_a_network_that_sees_around_is_exported_whole(made_of: Network) -> None:
    assert not sees_pixels_alone(made_of)
    program = export_program(made_of, times=6, height=7, width=6).module()
    example = with_holes(width=6)
    torch.testing.assert_close(program(*example), made_of(*example), rtol=0, atol=1e-4)


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


def test_branches_on_values_are_refused_by_name() -> None:
    with pytest.raises(NotExportableError, match=r"\w+"):
        export_program(Branching().eval(), times=6)


def test_a_network_in_training_is_refused() -> None:
    with pytest.raises(ValueError, match=r"call eval\(\)"):
        export_program(network("tempcnn").train(), times=6)


class TestTheCommand:
    def test_writes_what_says_the_same_as_the_predictor(self, tiny_bundle: Bundle, tmp_path: Path) -> None:
        """Of reflectance as it is measured, of which nothing is filled: it was observed everywhere."""
        output = tmp_path / "model.pt2"
        outcome = run_here("exportmodel", model=tiny_bundle.folder, output=output, size=5)
        assert outcome.status == 0, outcome.last
        extra = {DESCRIPTION: ""}
        program = load(str(output), extra_files=extra).module()
        described = json.loads(extra[DESCRIPTION])
        bands = tiny_bundle.reflectance_bands
        times = len(tiny_bundle.first_days)
        data = np.random.default_rng(0).integers(200, 4000, (3, times, len(bands), 5, 5)).astype(np.int16)
        valid = np.ones((3, times, 5, 5), bool)
        predictor = Predictor(tiny_bundle)
        channels, there = sample_channels(data, valid, bands, tiny_bundle.channels)
        days = torch.tensor(described["days"]).expand(3, -1)
        x, observed = torch.from_numpy(channels), torch.from_numpy(there.copy())
        if predictor.by_patch:
            with torch.inference_mode():
                normalised = torch.from_numpy(tiny_bundle.normalise(channels))
                logits = tiny_bundle.network()(normalised, days, observed)
            expected = torch.softmax(logits / tiny_bundle.temperature, dim=1)
            found = program(x, days, observed)
        else:
            expected = torch.from_numpy(predictor.probabilities(data, valid, bands))
            if list(described["gives"].values()) == [[-1, 3]]:
                series = x.permute(0, 3, 4, 1, 2).flatten(0, 2), observed.permute(0, 2, 3, 1).flatten(0, 2)
                found = program(series[0], days.repeat_interleave(25, dim=0), series[1])
                found = found.view(3, 5, 5, -1).movedim(-1, 1)
            else:
                found = program(x, days, observed)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        assert [each["name"] for each in described["classes"]] == ["Maize", "Grass", "Potatoes"]

    def test_is_a_command_line(self, hybrid_bundle: Bundle, tmp_path: Path) -> None:
        output = tmp_path / "model.pt2"
        asked = ["--model", str(hybrid_bundle.folder), "--output", str(output), "--size", "8"]
        done = subprocess.run(
            [sys.executable, "-m", "cropmap_core", "export-model", *asked],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["output"] == str(output)
        assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]

    def test_makes_what_runs_without_cropmap(self, tmp_path: Path) -> None:
        for name in HYPER_PARAMETERS:
            bundle = save_tiny_bundle(tmp_path / name, name)
            output = tmp_path / f"{name}.pt2"
            assert run_here("exportmodel", model=bundle.folder, output=output, size=5).status == 0
        program = (
            "import json, sys, torch\n"
            "for path in sys.argv[1:]:\n"
            "    given = {'cropmap.json': ''}\n"
            "    program = torch.export.load(path, extra_files=given).module()\n"
            "    shapes = json.loads(given['cropmap.json'])['takes'].values()\n"
            "    x, days, valid = (torch.ones([4, *shape[1:]]) for shape in shapes)\n"
            "    print(program(x, days, valid.bool()).sum(dim=1).flatten()[0].item())\n"
            "assert not {'models', 'cropmap_core'} & set(sys.modules)\n"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-c", program, *(str(tmp_path / f"{name}.pt2") for name in HYPER_PARAMETERS)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert [float(total) for total in done.stdout.split()] == pytest.approx([1.0] * len(HYPER_PARAMETERS))

    def test_leaves_nothing_behind_that_is_not_whole(
        self, hybrid_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def half(program: object, path: Path, extra_files: object) -> None:
            Path(path).write_bytes(b"half")
            raise OSError("no space left")

        monkeypatch.setattr("torch.export.save", half)
        (tmp_path / "model.pt2").write_text("as it was")
        outcome = run_here("exportmodel", model=hybrid_bundle.folder, output=tmp_path / "model.pt2")
        assert outcome.status != 0
        assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]
        assert (tmp_path / "model.pt2").read_text() == "as it was"

    def test_refuses_a_network_that_cannot_be_exported(
        self, hybrid_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Bundle, "network", lambda self: Branching().eval())
        outcome = run_here("exportmodel", model=hybrid_bundle.folder, output=tmp_path / "model.pt2")
        assert outcome.code == "IncompatibleModelError"
        assert f"{hybrid_bundle.id} cannot be exported: " in outcome.last["message"]
        assert not list(tmp_path.iterdir())

    def test_of_another_file_name_is_refused(self, hybrid_bundle: Bundle, tmp_path: Path) -> None:
        outcome = run_here("exportmodel", model=hybrid_bundle.folder, output=tmp_path / "model.onnx")
        assert outcome.code == "JobError"
