"""Fixtures of the worker's half: real data where it is there, a small season, and small models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from cropmap_core.inference.bundles import Bundle
from tests.core.seam import run_here
from tests.core.tiny_models import END, HYPER_PARAMETERS, START, save_tiny_bundle
from tests.factories import write_season

CHAIN_BANDS = ["B02", "B03", "B04", "B08", "B11"]

settings.register_profile("cropmap", max_examples=60, deadline=None, derandomize=True, database=None)
settings.load_profile("cropmap")
torch.set_num_threads(1)  # tiny networks gain nothing from more, and on a busy machine wait for them


def data_folder(name: str) -> Path:
    """A folder of the real data; the test is skipped where it is not there."""
    root = Path(os.environ.get("CROPMAP_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (root / name).is_dir():
        pytest.skip(f"real data not found: {root / name} (set CROPMAP_DATA)")
    return root / name


@pytest.fixture(scope="session")
def flanders() -> Path:
    """The real patch of 2018, where it is there."""
    return data_folder("flanders_2018")


@pytest.fixture(scope="session")
def l2a_products() -> Path:
    """Real SAFE products, where they are there."""
    return data_folder("l2a_products")


@pytest.fixture(scope="session")
def season(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A year of 24 scenes, 32 x 24 pixels, a third of it under cloud."""
    return write_season(tmp_path_factory.mktemp("season"))


@pytest.fixture(scope="session", params=sorted(HYPER_PARAMETERS))
def tiny_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Each architecture as a bundle of random weights for the months April to August."""
    return save_tiny_bundle(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.fixture(scope="session")
def hybrid_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_tiny_bundle(tmp_path_factory.mktemp("models") / "hybrid", "hybrid_cnn")


@pytest.fixture(scope="session")
def convlstm_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_tiny_bundle(tmp_path_factory.mktemp("models") / "convlstm", "convlstm")


@pytest.fixture(scope="session")
def steps(season: Path, hybrid_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The files of the chain: a stack, its composites, them filled, and a map of them."""
    folder = tmp_path_factory.mktemp("steps")
    made = {name: folder / f"{name}.tif" for name in ("stack", "months", "filled", "classes", "confidence")}
    maps = {"output_classes": made["classes"], "output_confidence": made["confidence"]}
    for outcome in (
        run_here(
            "stackscenes", scenes=[season], bands=CHAIN_BANDS, output=made["stack"], start_date=START, end_date=END
        ),
        run_here("compositetimeseries", series=made["stack"], output=made["months"]),
        run_here("fillgaps", series=made["months"], output=made["filled"]),
        run_here("classify", series=made["filled"], model=hybrid_bundle.folder, **maps),
    ):
        assert outcome.status == 0, outcome.last
    return made
