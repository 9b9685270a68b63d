"""What the card of each bundle says that no measurement tells: its use, what it does not know, whose data it is of."""

from __future__ import annotations

from dataclasses import dataclass

COPERNICUS = "Copernicus Sentinel data terms"


@dataclass(frozen=True)
class Source:
    """Data that a bundle has learnt from."""

    name: str
    """With agency and year."""
    license: str


@dataclass(frozen=True)
class Story:
    """The prose of a card."""

    summary: str
    """A sentence or two, also for the description in item.json."""
    use: str
    unknown: tuple[str, ...]
    labels: str
    """Where they come from, and how far they are to be believed."""
    folds: str
    """What the folds are that it was judged on."""
    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()
    """What was tried, or has to be known besides."""


_US_SOURCES = (
    Source("Modified Copernicus Sentinel data 2021 (Sentinel-2 L2A, by Google Earth Engine)", COPERNICUS),
    Source("USDA National Agricultural Statistics Service (NASS), Cropland Data Layer 2021", "public domain"),
    Source("ESA WorldCover (points lie where it says cropland)", "CC BY 4.0"),
    Source("us_2021: compiled in the GitHub repository Crop-Classification-Projet, commit 6fea5e5", "none stated"),
)
_US_UNKNOWN = (
    "Crops other than the eight named: they are `Others`, which is made of what grew beside them in these two states. "
    "Forest, water and towns are in it only where the label map and WorldCover disagree, with a few samples each.",
    "Other states, other years, other continents: both were sampled in 2021 alone. Class and place go together: the "
    "rice of California is in the north, its pistachios are in the south.",
    "Fields that are hard for the label map: only points were drawn where the Cropland Data Layer is sure of itself "
    "(95 % or more), so that the figures are those of clear cases.",
)
_US_LABELS = (
    "Labels are those of the Cropland Data Layer, itself a classified map: accuracy is agreement with it. California's "
    "pistachios and pears were told apart anew by their codes."
)
_US_FOLDS = "Folds are whole cells of 0.25 degrees, so that neighbours are held out together."
_CANADA_SOURCES = (
    Source("Modified Copernicus Sentinel data 2017 (Sentinel-2 L2A)", COPERNICUS),
    Source(
        "Agriculture and Agri-Food Canada (AAFC), Annual Crop Inventory ground truth 2017",
        "Open Government Licence - Canada",
    ),
    Source("canada_2017: compiled in the GitHub repository WorldCereal/presto-worldcereal", "none stated"),
)
_CANADA_UNKNOWN = (
    "Rare crops: apples, oats, spring barley, blueberries, fruit-bearing vegetables and barley have 23 to 34 samples "
    "each, and are guesses. `Other` is made of crops too rare to have a name, and of what has no crop label.",
    "Other years than 2017 and provinces that were not surveyed.",
    "Masked composites: those that it learnt from show clouds, and snow in winter. It has not been judged on others.",
)
_CANADA_LABELS = "Labels are crops seen in the field, at points."
_CANADA_FOLDS = "Folds are whole cells of H3 level 3, so that neighbours are held out together."
_EUROPE_SOURCES = (
    Source("Modified Copernicus Sentinel data 2017, 2018, 2021, 2022 and 2023 (Sentinel-2 L2A)", COPERNICUS),
    Source(
        "Tables and scenes of ESA WorldCereal, GitHub repositories WorldCereal/worldcereal-classification and "
        "WorldCereal/prometheo",
        "MIT",
    ),
    Source("French parcel register (RPG) 2022 and 2023, IGN and ASP", "Licence Ouverte"),
    Source("Flemish parcel declarations (LPIS) 2018 and 2021", "Flemish open data, attribution"),
    *_CANADA_SOURCES[1:],
)
_EUROPE_UNKNOWN = (
    "Single crops: it tells groups. Vegetables, fruit, vines and all else are `Other`.",
    "Beet, sunflower and rapeseed: there are too few samples to learn them from, as the card of `europe-pixel` says.",
    "Most of Europe: it has seen about a thousand points in France, half of them in Corsica, and a "
    "hundred and thirty in Flanders; most of its samples are of Canada. Elsewhere it has to be tried first.",
    "Forest, water and towns but for what the tables hold of them as `Other`.",
)
_EUROPE_LABELS = "Labels are declarations of farmers (France, Flanders) and a survey on the ground (Canada)."
_EUROPE_FOLDS = "Fold 0 is the real patch `flanders_2018`; the others hold whole cells of H3 level 3."
_OF_LANDSCAPES = (
    "It learnt from landscapes that were made of real series of single pixels: fields of realistic size and shape, "
    "each filled with series of one crop and neighbourhood, with mixed borders and real masks. Held-out folds make "
    "held-out landscapes. A made landscape is not a real one: its roads and hedges are drawn."
)

_CLOUD_SHAPES = (
    Source("Cloud shapes of masks in flanders_2018, GitHub repository WorldCereal/worldcereal-classification", "MIT"),
    Source("Cloud shapes of masks in openEO cubes of 2023, GitHub repository Open-EO/openeo-gfmap", "Apache-2.0"),
)
_TAUGHT = (
    "What taught the U-Net was told by models by pixel without the fold of each landscape. Those had learnt from the "
    "held-out folds otherwise, so that the figures may flatter a little."
)
_BY_TEACHER = (
    "Nine tenths of what it learnt is what `canada-2017-pixel` says of the same series and landscapes, the rest are "
    "labels (Hinton et al. 2015): 80 epochs on single series (rate 0.005), then 3 on landscapes (0.002). Networks that "
    "are judged on a fold were taught by models that have not seen it. That it is taught was decided when the scores "
    "of an untaught network on all seven folds were known, and in sight of a taught one's on folds 3 and 5; its "
    "teacher goes without TempCNN by scores on these folds too. All of it flatters a little."
)
_EUROPE_CONTEXT_CHOICE = (
    "That its U-Net does not balance classes was decided in sight of the landscapes and of the real square that it is "
    "judged on: all figures here are somewhat too good. On the real square it is no better than `europe-pixel`."
)
_NESTED = (
    "What taught the U-Net of a held-out fold was told by models by pixel that have seen neither that fold nor the "
    "landscape's own. Cloud shapes were taken from all scenes, those of flanders_2018 too."
)
_US_CHOICE = (
    "Augmentation was chosen on folds 1 and 4, by models of three other folds each, before all five were judged; that "
    "L-TAE is trained for longer (25, 50 and 90 epochs were tried) and TempCNN left out, and how likely `Others` is "
    "made, on folds 2 to 4, by models of all other folds, when the scores of an earlier bundle on all folds were "
    "known. What was tried stands in docs/decisions/0050-recipes-of-pixel-bundles.md. The figures are flattered a "
    "little by that, those of fold 0 the least."
)
_CONTEXT_CHOICE = (
    "How long the U-Net is taught, and how it weighs classes, was chosen on landscapes of fold 4, and before that of "
    "folds 0 and 1 (docs/decisions/0051-pixels-in-context.md), which flatters a little what is told of these."
)
_US_ADJUSTED = (
    "To the logarithm of the probability of `Others` 0.5 is added: maps hold more of what has no name here than the "
    "samples do, and crops that were left out of training were taken for `Others` more often by that. It costs next "
    "to nothing in scores, and two to three thousandths of calibration (ECE)."
)
_CANADA_CHOICE = (
    "That it has no convolution over time was decided on the folds that it is judged on (one seed), which flatters a "
    "little."
)
_EUROPE_CHOICE = (
    "The square flanders_2018 is small: 18 parcels, two of them with one class to themselves. Of its pixels at most 40 "
    "a parcel are among the samples, so that shares of samples are not shares of the area. That classes are not "
    "balanced, TempCNN is left out and training is long was decided in sight of that square and of 58 points in "
    "Flanders, so that the figures of the square, and of these among the tables, are somewhat too good. One fold "
    "holds three quarters of the French samples: the folds of the tables ask for transfer between regions. Fallow is "
    "`Other`, scrub with grass is `Grass`."
)

STORIES = {
    "us-2021-pixel": Story(
        "Crops of California and Arkansas, each pixel by its own series of ten-day composites of a calendar year.",
        "Crop maps and tables of points in California's valleys and the Arkansas delta, and a start for a model of "
        "your own elsewhere in the United States.",
        _US_UNKNOWN,
        _US_LABELS,
        _US_FOLDS,
        _US_SOURCES,
        (_US_CHOICE, _US_ADJUSTED),
    ),
    "us-2021-hybrid-cnn": Story(
        "Crops of California and Arkansas, each pixel by its series and what is around it.",
        "Crop maps of California's valleys and the Arkansas delta. For tables of points take `us-2021-pixel`.",
        _US_UNKNOWN,
        _US_LABELS,
        _US_FOLDS,
        (*_US_SOURCES, *_CLOUD_SHAPES),
        (_OF_LANDSCAPES, _TAUGHT, _CONTEXT_CHOICE, _US_CHOICE, _US_ADJUSTED),
    ),
    "canada-2017-pixel": Story(
        "Crops of Canada, each pixel by its own series of monthly composites of a calendar year, clouds left in.",
        "A first guess of the crops of southern Canada, where composites are monthly or clouds were not masked well.",
        _CANADA_UNKNOWN,
        _CANADA_LABELS,
        _CANADA_FOLDS,
        _CANADA_SOURCES,
        ("Sentinel-1 is not used, and never needed.", _CANADA_CHOICE),
    ),
    "canada-2017-convlstm": Story(
        "Crops of Canada by a recurrent network that looks at the neighbourhood of a pixel, month by month.",
        "Maps of southern Canada by a recurrent network that looks around, and a start for one of your own. On all "
        "that both were judged on, made landscapes too, `canada-2017-pixel` is better: take that for a map.",
        _CANADA_UNKNOWN,
        _CANADA_LABELS,
        _CANADA_FOLDS,
        (*_CANADA_SOURCES, *_CLOUD_SHAPES),
        (_OF_LANDSCAPES, _BY_TEACHER),
    ),
    "europe-pixel": Story(
        "Groups of crops in western Europe, each pixel by its own series of monthly composites of a calendar year.",
        "A first map of groups of crops (maize, winter cereal, grass, ...) in France and Flanders, and a start for a "
        "model of your own.",
        _EUROPE_UNKNOWN,
        _EUROPE_LABELS,
        _EUROPE_FOLDS,
        _EUROPE_SOURCES,
        (_EUROPE_CHOICE,),
    ),
    "europe-hybrid-cnn": Story(
        "Groups of crops in western Europe, each pixel by its series and what is around it.",
        "A first map of groups of crops in France and Flanders. For tables of points take `europe-pixel`.",
        _EUROPE_UNKNOWN,
        _EUROPE_LABELS,
        _EUROPE_FOLDS,
        (*_EUROPE_SOURCES, *_CLOUD_SHAPES),
        (_OF_LANDSCAPES, _NESTED, _EUROPE_CONTEXT_CHOICE, _EUROPE_CHOICE),
    ),
}
"""By the bundle's id."""
