"""Architectures by name, for bundles that carry a name and a table of hyper-parameters."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from models.atlstm import AtLSTM, AtLSTMParameters
from models.convlstm import ConvLSTM, ConvLSTMParameters
from models.ensemble import Ensemble, EnsembleParameters
from models.hybrid_cnn import HybridCNN, HybridCNNParameters
from models.ltae import LTAE, LTAEParameters
from models.network import Network
from models.rnn import RNN, RNNParameters
from models.tempcnn import TempCNN, TempCNNParameters
from models.transformer import Transformer, TransformerParameters
from models.tree_ensemble import TreeEnsemble, TreeEnsembleParameters

ARCHITECTURES: dict[str, tuple[type[Any], type[Network]]] = {
    "convlstm": (ConvLSTMParameters, ConvLSTM),
    "hybrid_cnn": (HybridCNNParameters, HybridCNN),
    "tempcnn": (TempCNNParameters, TempCNN),
    "rnn": (RNNParameters, RNN),
    "atlstm": (AtLSTMParameters, AtLSTM),
    "transformer": (TransformerParameters, Transformer),
    "ltae": (LTAEParameters, LTAE),
    "ensemble": (EnsembleParameters, Ensemble),
    "tree_ensemble": (TreeEnsembleParameters, TreeEnsemble),
}
"""Name to the dataclass of its hyper-parameters and the network itself."""


def build(architecture: str, **hyper_parameters: Any) -> Network:
    """Makes an untrained network.

    Args:
        architecture: A name in `ARCHITECTURES`.
        hyper_parameters: The fields of its dataclass; lists are taken for tuples, as JSON has no tuples.

    Raises:
        ValueError: The architecture is unknown, or a hyper-parameter is unknown, missing or out of range.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {architecture!r}; known are {', '.join(sorted(ARCHITECTURES))}")
    parameters, network = ARCHITECTURES[architecture]
    valid = {field.name: field for field in fields(parameters)}
    needed = {name for name, field in valid.items() if field.default is MISSING}
    unknown = sorted(set(hyper_parameters) - set(valid))
    missing = sorted(needed - set(hyper_parameters))
    if unknown or missing:
        wrong = [f"unknown: {', '.join(unknown)}"] * bool(unknown) + [f"missing: {', '.join(missing)}"] * bool(missing)
        raise ValueError(f"hyper-parameters of {architecture} {'; '.join(wrong)}. It takes {', '.join(valid)}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in hyper_parameters.items()}
    return network(parameters(**values))
