"""Fixtures of the worker's half: real data where it is there, a small season, and small models."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from cropmap_core.bundles import Bundle
from tests.core.tiny_models import HYPER_PARAMETERS, save_tiny_bundle
from tests.factories import write_season

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
