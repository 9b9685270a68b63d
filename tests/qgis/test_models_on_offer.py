"""The cards of bundled models, and what MODEL may be: an id or a folder."""

import json

import pytest
from cropmap.processing_provider import model_cards
from cropmap.processing_provider.errors import JobFailed


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """Two bundled models, one of them with a damaged card, and a folder that is none."""
    folder = tmp_path / "bundled"
    for name in ("maize-2018", "broken", "notes"):
        (folder / name).mkdir(parents=True)
    accuracy = {"parcels": 18, "parcels_right": 12, "method": "leave one parcel out"}
    card = {"properties": {"title": "Maize 2018", "description": "Of Flanders.", "cropmap:accuracy": accuracy}}
    (folder / "maize-2018" / "item.json").write_text(json.dumps(card))
    (folder / "broken" / "item.json").write_text("{")
    monkeypatch.setattr(model_cards, "BUNDLED_FOLDER", str(folder))
    return folder


def test_cards_are_listed_by_id_and_a_damaged_one_says_so(bundled):
    cards = {card.id: card for card in model_cards.bundled_models()}

    assert list(cards) == ["broken", "maize-2018"]
    assert cards["maize-2018"] == model_cards.ModelCard(
        "maize-2018", "Maize 2018", "Of Flanders.", "12 of 18 parcels right (leave one parcel out)"
    )
    assert "cannot be read" in cards["broken"].description


def test_accuracy_of_pixels_says_on_what(bundled):
    accuracy = {
        "method": "fold models",
        "task": "120 samples of 3 classes",
        "macro_f1": 0.9512,
        "overall_accuracy": 0.97,
    }
    card = {"properties": {"title": "Maize 2018", "cropmap:accuracy": accuracy}}
    (bundled / "maize-2018" / "item.json").write_text(json.dumps(card))
    told = {card.id: card.accuracy for card in model_cards.bundled_models()}
    assert told["maize-2018"] == "macro F1 0.951, 97.0 % right on 120 samples of 3 classes (fold models)"


def test_an_id_stays_an_id_and_a_folder_becomes_absolute(bundled, monkeypatch):
    monkeypatch.chdir(bundled.parent)

    assert model_cards.resolve("maize-2018") == "maize-2018"
    assert model_cards.resolve("bundled/maize-2018") == str(bundled / "maize-2018")
    assert model_cards.resolve(str(bundled / "maize-2018" / "item.json")) == str(bundled / "maize-2018")


@pytest.mark.parametrize("unknown", ["maize-2019", "notes", "", ".."])
def test_an_unknown_model_is_refused_with_the_ids_there_are(bundled, unknown, monkeypatch):
    monkeypatch.chdir(bundled)

    with pytest.raises(JobFailed, match="Choose one of broken, maize-2018"):
        model_cards.resolve(unknown)
