"""Cards: every architecture that can be trained is described, and a model's card says what it is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from cropmap_core.learning.describing import describe_architecture
from cropmap_core.learning.recipes import NOT_TRAINED_BY_STEPS, TREES, offered_architectures
from models.descriptions import DESCRIPTIONS
from tests.core.sample_tables import long_table, write_table
from tests.core.seam import run_here

MADE_OF_OTHERS = set(NOT_TRAINED_BY_STEPS) - {"tree_ensemble"}


def test_every_architecture_is_described_and_nothing_else() -> None:
    assert set(DESCRIPTIONS) == {*offered_architectures(), *TREES, *MADE_OF_OTHERS}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description_tells_all_that_users_ask(name: str) -> None:
    told = DESCRIPTIONS[name]
    texts = (told.summary, told.good_at, *told.mind)
    assert all(text[0].isupper() and text.endswith(".") for text in texts)
    assert all(any(year in each for year in map(str, range(1990, 2027))) for each in told.references)
    if name not in MADE_OF_OTHERS:
        minded = " ".join(told.mind)
        assert "pixel" in minded or "patch" in minded  # what samples it needs
        assert "rder" in minded or "no time" in minded  # whether the order of dates counts
        assert "number of dates" in minded


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    table = write_table(folder, long_table())
    asked = {"table": table, "block_m": 3000, "folds": 3, "output": folder / "set.h5"}
    assert run_here("buildtrainingset", **asked).status == 0
    return folder / "set.h5"


@pytest.mark.parametrize(
    ("asked", "described"),
    [
        ({"architecture": ["tempcnn"]}, ["tempcnn"]),
        ({"architecture": ["random_forest"], "hyper_parameters": ["trees=5"]}, ["random_forest"]),
        ({"architecture": ["ltae", "xgboost"]}, ["ensemble", "ltae", "xgboost"]),
        ({"architecture": ["ltae"], "members": 2}, ["ensemble", "ltae"]),
        ({"architecture": ["hybrid"]}, ["hybrid", "transformer", "atlstm"]),
        (
            {"architecture": ["random_forest"], "hyper_parameters": ["features_from=ltae; trees=5"]},
            ["feature_trees", "random_forest", "ltae"],
        ),
    ],
)
def test_a_card_says_what_the_model_is(
    asked: dict[str, object], described: list[str], samples: Path, tmp_path: Path
) -> None:
    outcome = run_here("trainmodel", samples=samples, output=tmp_path / "model", epochs=1, device="cpu", **asked)
    assert outcome.status == 0, outcome.last
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert all(card.count(describe_architecture(name)) == (name in described) for name in DESCRIPTIONS)
