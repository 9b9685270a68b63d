"""What each architecture is, in words for the card of a model: for those who use it and have not read its code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Description:
    """An architecture in plain words; every text is one or several whole sentences."""

    summary: str
    """What it is, and what it makes its decision of."""
    references: tuple[str, ...]
    """Papers."""
    good_at: str
    mind: tuple[str, ...]
    """What to know before using it: surroundings, order of dates, number of dates, deviation from the paper."""


_BY_PIXEL = "It looks at each pixel alone: samples may be pixels or patches, and its maps are speckled within fields."
_AROUND = "It looks around each pixel: it needs samples that are patches, and its maps are smoother than their truth."
_ONE_CLASS = (
    "It gives a patch one class: it needs samples that are patches, maps cells, and blurs what is smaller than a patch."
)
_ANY_DATES = "Any number of dates goes, and a missing one is dropped, not guessed."
_FIXED_DATES = (
    "It knows the number of dates that it was grown on and no other, takes them in their columns, and sees no time."
)
_DAYS = "Order counts: each observation is known by its day of the season."
_ORDER = "Order counts: it steps from date to date, and the day of the season is a channel."
_BLOCKS = "Its statistics are of training alone, so that a map does not depend on the blocks it was made in."
_NO_PHOTOGRAPHS = "It begins with random weights: those learnt from photographs are neither used nor shipped."
_DATE_MEAN = (
    "Dates are averaged in the end: of their order it knows what the day of the season, a channel of each image, says."
)
_BREIMAN = "Breiman (2001), Random Forests, Machine Learning 45"

DESCRIPTIONS: Mapping[str, Description] = MappingProxyType(
    {
        "random_forest": Description(
            "A forest of decision trees, each grown on other samples drawn with replacement; their class shares are "
            "averaged. Its features are the channels of all dates side by side.",
            (_BREIMAN,),
            "Good at being right with few samples and no tuning: what every network has to beat.",
            (
                _BY_PIXEL,
                _FIXED_DATES,
                "What is not valid is taken for the mean of training, and a season that is shifted looks like another "
                "crop.",
            ),
        ),
        "xgboost": Description(
            "Gradient-boosted decision trees: each corrects what those before it got wrong, until the validation "
            "samples get no better. Its features are the channels of all dates side by side.",
            ("Chen, Guestrin (2016), XGBoost: A Scalable Tree Boosting System, KDD",),
            "Good at tables of single composites: quick to train, quick to map, hard to beat without shifted seasons.",
            (
                _BY_PIXEL,
                _FIXED_DATES,
                "What is not valid is taken for the mean of training, and a season that is shifted looks like another "
                "crop.",
            ),
        ),
        "tempcnn": Description(
            "Three convolutions over the time series of each pixel, weighted means over time, and a dense layer: it "
            "knows the shapes of a few dates in a row and how much each date counts.",
            (
                "Pelletier, Webb, Petitjean (2019), Temporal Convolutional Neural Network for the Classification of "
                "Satellite Image Time Series, Remote Sensing 11(5)",
            ),
            "Good at most things, and quick on processors: the first to try.",
            (
                _BY_PIXEL,
                _ANY_DATES,
                _DAYS,
                "The paper flattens a fixed number of dates; here learned means over time and the maximum take that "
                "place.",
            ),
        ),
        "ltae": Description(
            "Lightweight temporal attention: sixteen heads, each with one learned question to the dates, weigh the "
            "observations of each pixel.",
            (
                "Garnot, Landrieu (2020), Lightweight Temporal Self-attention for Classifying Satellite Image Time "
                "Series, AALTD",
            ),
            "Good at long and irregular seasons with few weights: a quarter of the size of tempcnn.",
            (
                _BY_PIXEL,
                _ANY_DATES,
                _DAYS,
                "The paper weighs sets of pixels of a parcel; here each pixel is weighed by itself.",
            ),
        ),
        "transformer": Description(
            "Encoder layers in which every observation of a pixel looks at all others; the maximum over time is "
            "classified.",
            (
                "Vaswani et al. (2017), Attention Is All You Need, NeurIPS",
                "Russwurm, Koerner (2020), Self-attention for raw optical Satellite Time Series Classification, ISPRS "
                "Journal 169",
            ),
            "Good at what depends on dates far apart, if there are many samples.",
            (
                _BY_PIXEL,
                _ANY_DATES,
                _DAYS,
                "It wants more samples and more time than tempcnn. The papers place observations by their number, ours "
                "by their day, and normalise behind attention, ours before.",
            ),
        ),
        "rnn": Description(
            "An LSTM or a GRU that steps along the observations of each pixel, in both directions by default; the "
            "states in which it ends are classified.",
            (
                "Hochreiter, Schmidhuber (1997), Long Short-Term Memory, Neural Computation 9(8)",
                "Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder, EMNLP",
                "Russwurm, Koerner (2017), Temporal Vegetation Modelling using Long Short-Term Memory Networks for "
                "Crop Identification, CVPR EarthVision",
            ),
            "Good at series in which the order of events tells the crop.",
            (
                _BY_PIXEL,
                _ANY_DATES,
                _ORDER,
                "It wants a learning rate of about 0.005. Papers step over missing dates as zeros; here it steps over "
                "observations only.",
            ),
        ),
        "atlstm": Description(
            "Two bidirectional LSTM layers along the observations of each pixel, and attention that weighs their "
            "states.",
            (
                "Xu et al. (2020), DeepCropMapping: A multi-temporal deep learning approach with improved spatial "
                "generalizability for dynamic corn and soybean mapping, Remote Sensing of Environment 247",
            ),
            "Good at telling when in the season crops part; made for maize and soybean.",
            (
                _BY_PIXEL,
                _ANY_DATES,
                _ORDER,
                "It wants a learning rate of about 0.005. The paper has filled composites of ten days; here missing "
                "dates are dropped.",
            ),
        ),
        "hybrid": Description(
            "Several networks that see the same pixel series, trained as one: one layer classifies what all of them "
            "make of it. By default a transformer and an attention LSTM.",
            (
                "Xu et al. (2020), DeepCropMapping, Remote Sensing of Environment 247",
                "Russwurm, Koerner (2020), Self-attention for raw optical Satellite Time Series Classification, ISPRS "
                "Journal 169",
                "Interdonato et al. (2019), DuPLO: A DUal view Point deep Learning architecture for time series "
                "classificatiOn, ISPRS Journal 149",
            ),
            "Good where one kind of network misses what another sees, if there are samples enough for both.",
            (
                _BY_PIXEL,
                _ANY_DATES,
                "Order counts, as its members see it.",
                "It takes as long as its members together. DuPLO gives each branch a classifier of its own in training "
                "besides; here there is the common one only.",
            ),
        ),
        "hybrid_cnn": Description(
            "A one-dimensional CNN over time, shared by all pixels, makes an image of embeddings; a U-Net classifies "
            "each of its pixels by what lies around.",
            (
                "Pelletier et al. (2019), Temporal Convolutional Neural Network for the Classification of Satellite "
                "Image Time Series, Remote Sensing 11(5)",
                "Ronneberger et al. (2015), U-Net, MICCAI",
            ),
            "Good at whole fields with clean borders, and quick for a network that looks around.",
            (
                _AROUND,
                _ANY_DATES,
                _DAYS,
                _BLOCKS,
                "By default it is far smaller than the published design, which its hyper-parameters can make.",
            ),
        ),
        "auto_context": Description(
            "A network by pixel says what it takes each pixel for; a U-Net looks at these probabilities, and at the "
            "mean of each channel over the season, around each pixel, and puts them right.",
            (
                "Tu, Bai (2010), Auto-context and Its Application to High-level Vision Tasks and 3D Brain Image "
                "Segmentation, IEEE TPAMI 32(10)",
                "Ronneberger et al. (2015), U-Net, MICCAI",
            ),
            "Good where a model by pixel, or an ensemble of some, is good already and fields should come out whole.",
            (
                _AROUND,
                _ANY_DATES,
                "Order counts, as the first network sees it.",
                _BLOCKS,
                "Trained as one, the U-Net would learn from what the first network says of its own training samples, "
                "and trust it too much: trainmodel does not offer it. The bundled ones are taught by first networks "
                "that have not seen the landscape.",
            ),
        ),
        "convlstm": Description(
            "Stacked ConvLSTM cells: images of states that take in one date after the other, each pixel seeing its "
            "neighbours. The last state, averaged over a patch or, if dense, of each pixel, is classified.",
            (
                "Shi et al. (2015), Convolutional LSTM Network: A Machine Learning Approach for Precipitation "
                "Nowcasting, NeurIPS",
            ),
            "Good at small patches of one field over a season.",
            (
                "It needs samples that are patches, and gives each one class; with dense=true every pixel has its own.",
                _ANY_DATES,
                "Order counts: it steps from date to date; the day of the season is a channel with date_harmonics.",
                "With dense=true its view grows with each date; what lies farther off than its reach is left out, so "
                "that over long seasons maps of other blocks differ a little. It wants a learning rate of about 0.01; "
                "the peephole weights of the paper are left out.",
            ),
        ),
        "convrnn": Description(
            "Stacked convolutional recurrent cells, ConvSTAR or ConvGRU: images of states that take in one date after "
            "the other. The last state of each pixel is classified.",
            (
                "Turkoglu et al. (2021), Crop mapping from image time series: Deep learning with multi-scale label "
                "hierarchies, Remote Sensing of Environment 264",
                "Turkoglu et al. (2022), Gating Revisited: Deep Multi-Layer RNNs That Can Be Trained, IEEE TPAMI 44(8)",
                "Ballas et al. (2016), Delving Deeper into Convolutional Networks for Learning Video Representations, "
                "ICLR",
            ),
            "Good at seasons in which a field's neighbours help; fewer weights than ConvLSTM.",
            (
                _AROUND,
                _ANY_DATES,
                _ORDER,
                "Its view grows with each date; what lies farther off than its reach is left out, so that over long "
                "seasons maps of other blocks differ a little. The paper stacks six cells of 64 channels and refines "
                "three levels of classes; here there is one set of classes.",
            ),
        ),
        "utae": Description(
            "A U-Net of each date, whose levels are merged over time by one temporal attention, that of the coarsest "
            "level; a decoder classifies each pixel.",
            (
                "Garnot, Landrieu (2021), Panoptic Segmentation of Satellite Image Time Series with Convolutional "
                "Temporal Attention Networks, ICCV",
            ),
            "Good at fields in their surroundings over long seasons, if there are many patches to learn from.",
            (
                _AROUND,
                _ANY_DATES,
                _DAYS,
                _BLOCKS,
                "The paper normalises by groups and has strided convolutions; here normalisation is of observed "
                "pixels, levels are pooled, and weights are shared among the dates at which a pixel was observed.",
            ),
        ),
        "attention_unet3d": Description(
            "A three-dimensional U-Net over dates, rows and columns, with gates that choose what its skip connections "
            "pass on; features are averaged over the dates and each pixel is classified.",
            ("Oktay et al. (2018), Attention U-Net: Learning Where to Look for the Pancreas, MIDL",),
            "Good at patterns of a few dates and pixels at once.",
            (
                _AROUND,
                _ANY_DATES,
                "Order counts within a few dates in a row, and the day of the season is a channel; a gap in the season "
                "makes neighbours of dates that are none.",
                _BLOCKS,
                "The network is MONAI's, made for volumes of organs. Dates are never halved, and its normalisations "
                "are of what was observed.",
            ),
        ),
        "resnet": Description(
            "A residual network sees the image of each date of a patch; what it makes of them is averaged over the "
            "dates and classified.",
            ("He et al. (2016), Deep Residual Learning for Image Recognition, CVPR",),
            "Good at texture and shape within a patch; of seasons it knows little.",
            (
                _ONE_CLASS,
                _ANY_DATES,
                _DATE_MEAN,
                f"The network is MONAI's; by default it is small, with a first layer for patches, not photographs. "
                f"{_NO_PHOTOGRAPHS}",
            ),
        ),
        "densenet": Description(
            "A densely connected network, in which each layer sees all layers before it, looks at the image of each "
            "date of a patch; what it makes of them is averaged over the dates and classified.",
            ("Huang et al. (2017), Densely Connected Convolutional Networks, CVPR",),
            "Good at texture within a patch with few weights; of seasons it knows little.",
            (
                _ONE_CLASS,
                _ANY_DATES,
                _DATE_MEAN,
                f"The network is MONAI's; by default it is small, with a first layer for patches, not photographs. "
                f"{_NO_PHOTOGRAPHS}",
            ),
        ),
        "efficientnet": Description(
            "Inverted bottlenecks with squeeze and excitation see the image of each date of a patch; what they make of "
            "them is averaged over the dates and classified.",
            ("Tan, Le (2019), EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML",),
            "Good at texture within larger patches; of seasons it knows little.",
            (
                _ONE_CLASS,
                _ANY_DATES,
                _DATE_MEAN,
                f"The network is MONAI's; by default it is half as wide as B0 and has five of its seven stages. It is "
                f"slow to learn from few samples. {_NO_PHOTOGRAPHS}",
            ),
        ),
        "lrcn": Description(
            "A small CNN sees the image of each date of a patch, and an LSTM steps along what it makes of them.",
            (
                "Donahue et al. (2015), Long-term Recurrent Convolutional Networks for Visual Recognition and "
                "Description, CVPR",
            ),
            "Good at patches whose look changes over the season.",
            (
                _ONE_CLASS,
                _ANY_DATES,
                _ORDER,
                f"The paper's CNN was learnt from photographs and classifies each time step. {_NO_PHOTOGRAPHS}",
            ),
        ),
        "cnn3d": Description(
            "Convolutions over dates, rows and columns at once; as a hybrid, time is folded away and two-dimensional "
            "convolutions follow. Mean and maximum are classified.",
            (
                "Ji et al. (2018), 3D Convolutional Neural Networks for Crop Classification with Multi-Temporal Remote "
                "Sensing Images, Remote Sensing 10(1)",
                "Roy et al. (2020), HybridSN: Exploring 3-D-2-D CNN Feature Hierarchy for Hyperspectral Image "
                "Classification, IEEE GRSL 17(2)",
            ),
            "Good at short changes of a patch, such as mowing or harvest.",
            (
                _ONE_CLASS,
                _ANY_DATES,
                "Order counts within a few dates in a row, and the day of the season is a channel; a gap in the season "
                "makes neighbours of dates that are none.",
                "The paper flattens a fixed number of dates; here mean and maximum take that place.",
            ),
        ),
        "ensemble": Description(
            "Several models, each trained and calibrated by itself. Their probabilities are averaged; stacked, a "
            "regression learns from the validation samples whom to believe about which class.",
            (
                "Dietterich (2000), Ensemble Methods in Machine Learning, MCS",
                "Wolpert (1992), Stacked Generalization, Neural Networks 5",
            ),
            "Good at a little more accuracy and better calibrated confidence, above all of members that differ.",
            (
                "It takes as long as its members together, to train and to map.",
                "It needs what any of its members needs.",
            ),
        ),
        "hierarchical": Description(
            "A network with a head for each level of the hierarchy of classes: groups first, then the members of each. "
            "Probabilities are multiplied down the tree.",
            (
                "Morin, Bengio (2005), Hierarchical Probabilistic Neural Network Language Model, AISTATS",
                "Turkoglu et al. (2021), Crop mapping from image time series: Deep learning with multi-scale label "
                "hierarchies, Remote Sensing of Environment 264",
            ),
            "Good at naming the group where the crop itself is not sure.",
            (
                "It is bound to the hierarchy that its classes had in training.",
                "The paper refines levels of a growing depth; here all heads look at the same embedding and never "
                "contradict each other.",
            ),
        ),
        "feature_trees": Description(
            "Trees in place of the last layer of a trained network: they are grown on what it makes of each pixel.",
            (
                "Yang et al. (2020), Crop Classification Method Based on Optimal Feature Selection and Hybrid CNN-RF "
                "Networks for Multi-Temporal Remote Sensing Imagery, Remote Sensing 12(19)",
                _BREIMAN,
            ),
            "Good at sharper borders between classes than the network's own last layer, at times.",
            (
                "Unlike trees on the series it takes any number of dates, as its network does.",
                "Trees are grown on samples that the network has learnt, and are too sure of themselves: it is "
                "calibrated on others. The paper chooses features of the series first.",
            ),
        ),
    }
)
"""By the name that `trainmodel` knows; `ensemble`, `hierarchical` and `feature_trees` are made of others."""
