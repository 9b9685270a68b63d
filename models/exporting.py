"""Export: a network as a torch.export program, which runs without this package.

What every export lacks is the freedom of Python: branches and shapes that depend on values. While a program is traced,
the networks leave out the shortcuts that need them (`torch.compiler.is_exporting()`): all pixels are computed, observed
or not, all dates are stepped over, and no chunks bound the memory. The answer is the same.

- A dense network that sees each pixel alone (`receptive_radius` 0: tempcnn, rnn, atlstm, transformer, ltae, hybrid,
  tree_ensemble, and ensembles and feature_trees of such) becomes its series head: any number of series goes.
- Any other (those that look around, those of patches, and ensembles and feature_trees of such) becomes its whole
  forward: any number of samples goes, their height and width are fixed.

The number of dates is always fixed: fewer are handed in as dates that are valid nowhere, which are no dates (but for
trees on series, which were grown on one number of dates anyway). In training mode nothing is exported: batch
normalisation looks at the observed values alone, a number of them that depends on values.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from models.network import Network

_TRACED = 3  # samples or series of the example; 0 and 1 would be taken for constants


class NotExportableError(ValueError):
    """A network does what a program cannot, mostly branch on values; holds the first line of torch's complaint."""


class SeriesHead(nn.Module):
    """A dense network that sees each pixel alone, on N pixel series.

    Args:
        network: The network.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, values: Tensor, days: Tensor, valid: Tensor) -> Tensor:
        """Shapes (N, T, C), (N, T) and (N, T) to logits, shape (N, K); observations first, or in order of time."""
        logits: Tensor = self.network(values[..., None, None], days, valid[..., None, None])
        return logits.flatten(1)  # (N, K, 1, 1) to (N, K)


class Calibrated(nn.Module):
    """Channels as they are measured in, calibrated probabilities out.

    Args:
        network: Takes normalised channels, and gives logits along the second dimension.
        mean: Of each channel.
        std: Of each channel.
        temperature: What logits are divided by.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor, dates: Tensor, valid: Tensor) -> Tensor:
        """As the network, of reflectance 0-1 and indices; probabilities in place of logits."""
        per_channel = (-1, *[1] * (x.ndim - 3))  # channels are the third dimension
        normalised = (x - self.mean.view(per_channel)) / self.std.view(per_channel)
        return torch.softmax(self.network(normalised, dates, valid).float() / self.temperature, dim=1)


def sees_pixels_alone(network: Network) -> bool:
    """Whether a network is exported as its series head."""
    return network.kind == "dense" and not network.receptive_radius


def export_program(
    network: Network,
    times: int,
    height: int = 1,
    width: int = 1,
    scaling: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    temperature: float = 1.0,
) -> ExportedProgram:
    """Exports a network, on the processor.

    Args:
        network: Trained, in eval mode.
        times: Dates, T.
        height: Of the samples, in pixels; a network that sees each pixel alone has none.
        width: The same.
        scaling: Mean and standard deviation of each channel, to export the normalisation too, and calibrated
            probabilities in place of logits.
        temperature: What logits are divided by before the softmax, with `scaling`.

    Returns:
        A program of (values (N, T, C), days (N, T), valid (N, T)) to (N, K) for a network that sees each pixel alone,
        else of (x (B, T, C, H, W), dates (B, T), valid (B, T, H, W)) to (B, K, H, W) or (B, K). N and B may be any
        number above 0. dtypes as in `Network.forward`.

    Raises:
        ValueError: The network is in training mode.
        NotExportableError: Its code has branches or shapes that depend on values.
    """
    if network.training:
        raise ValueError("the network is in training mode; call eval() first")
    alone = sees_pixels_alone(network)
    module: nn.Module = SeriesHead(network) if alone else network
    if scaling is not None:
        module = Calibrated(module, *scaling, temperature)
    pixels = () if alone else (height, width)
    example = (
        torch.zeros(_TRACED, times, network.channels, *pixels),
        torch.arange(times, dtype=torch.float32).expand(_TRACED, -1).contiguous(),
        torch.ones(_TRACED, times, *pixels, dtype=torch.bool),
    )
    any_number = {0: Dim("samples", min=1)}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*_flat_weights")  # LSTMs list their weights twice: they are one
        try:
            return export(module.eval(), example, dynamic_shapes=(any_number, any_number, any_number))
        except MemoryError:
            raise
        except Exception as error:  # torch raises many kinds, none of them documented
            first, _, _ = str(error).strip().partition("\n")
            raise NotExportableError(first or type(error).__name__) from error
