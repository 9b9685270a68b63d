"""Architectures by name, for bundles that carry a name and a table of hyper-parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from importlib import import_module
from typing import Any

import torch

from models.network import Network


class Architectures(Mapping[str, tuple[type[Any], type[Network]]]):
    """Name to the dataclass of its hyper-parameters and the network itself, imported when asked for.

    A process that runs one network does not wait for the libraries of all others.

    Args:
        networks: Name to the module in `models` and the class there; its dataclass has `Parameters` behind its name.
    """

    def __init__(self, networks: Mapping[str, tuple[str, str]]) -> None:
        self._networks = dict(networks)

    def __getitem__(self, architecture: str) -> tuple[type[Any], type[Network]]:
        module_name, network = self._networks[architecture]
        module = import_module(f"models.{module_name}")
        return getattr(module, f"{network}Parameters"), getattr(module, network)

    def __iter__(self) -> Iterator[str]:
        return iter(self._networks)

    def __len__(self) -> int:
        return len(self._networks)


ARCHITECTURES = Architectures(
    {
        "convlstm": ("convlstm", "ConvLSTM"),
        "convrnn": ("convrnn", "ConvRNN"),
        "utae": ("utae", "UTAE"),
        "attention_unet3d": ("attention_unet3d", "AttentionUNet3D"),
        "hybrid_cnn": ("hybrid_cnn", "HybridCNN"),
        "auto_context": ("auto_context", "AutoContext"),
        "resnet": ("resnet", "ResNet"),
        "densenet": ("densenet", "DenseNet"),
        "efficientnet": ("efficientnet", "EfficientNet"),
        "lrcn": ("lrcn", "LRCN"),
        "cnn3d": ("cnn3d", "CNN3D"),
        "tempcnn": ("tempcnn", "TempCNN"),
        "rnn": ("rnn", "RNN"),
        "atlstm": ("atlstm", "AtLSTM"),
        "transformer": ("transformer", "Transformer"),
        "ltae": ("ltae", "LTAE"),
        "hierarchical": ("hierarchical", "Hierarchical"),
        "hybrid": ("hybrid", "Hybrid"),
        "ensemble": ("ensemble", "Ensemble"),
        "tree_ensemble": ("tree_ensemble", "TreeEnsemble"),
        "feature_trees": ("feature_trees", "FeatureTrees"),
    }
)


def describe(architecture: str, /, **hyper_parameters: Any) -> Network:
    """A network without weights, to ask what kind it is and how far it sees; as `build`."""
    with torch.device("meta"):
        return build(architecture, **hyper_parameters)


def build(architecture: str, /, **hyper_parameters: Any) -> Network:
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
    for name, value in values.items():
        of_several = str(valid[name].type).startswith("tuple")
        if of_several != isinstance(value, tuple):
            raise ValueError(f"{name} is {value!r}; expected {'a list' if of_several else 'a single value'}")
    return network(parameters(**values))
