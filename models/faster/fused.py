"""Layers of trained networks in one step: batch normalisation folded into the weights before it, ReLU on the way."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.temporal_convolutions import ConvolutionOverTime, ObservedBatchNorm

_INTEGERS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}


class FusedConvolution(nn.Module):
    """A convolution, and ReLU if it is to be, channels last in memory.

    Args:
        weight: Shape (C', C, height, width), odd.
        bias: Shape (C',).
        padding: Zeros above and below, left and right.
        precision: Of what it takes and gives.
        relu: Whether ReLU follows.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, padding: tuple[int, int], precision: torch.dtype, relu: bool = True
    ) -> None:
        super().__init__()
        self.padding, self.relu = list(padding), relu
        weight = weight.detach().to(precision)
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias.detach().to(precision))

    def forward(self, image: Tensor) -> Tensor:
        """Shape (B, C, H, W) to (B, C', H', W')."""
        weight, bias = self.get_buffer("weight"), self.get_buffer("bias")
        if _is_fused(image):
            after = "relu" if self.relu else "none"
            fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
                image, weight, bias, self.padding, [1, 1], [1, 1], 1, after, [], ""
            )
            return fused
        found = functional.conv2d(image, weight, bias, padding=self.padding)
        return found.relu_() if self.relu else found


def fused_over_time(
    convolution: ConvolutionOverTime, norm: ObservedBatchNorm, precision: torch.dtype
) -> FusedConvolution:
    """A convolution over time, its batch normalisation and ReLU, of images T high whose columns are the series."""
    weight, bias = folded(convolution.weight, convolution.bias, norm)
    return FusedConvolution(weight.unsqueeze(3), bias, (convolution.kernel_size[0] // 2, 0), precision)


def fused_over_space(convolution: nn.Conv2d, norm: ObservedBatchNorm, precision: torch.dtype) -> FusedConvolution:
    """A 3x3 convolution, its batch normalisation and ReLU, of stripes: they lose their first and last row."""
    weight, bias = folded(convolution.weight, convolution.bias, norm)
    return FusedConvolution(weight, bias, (0, 1), precision)


class FusedLinear(FusedConvolution):
    """A linear layer, and ReLU if it is to be.

    On processors a convolution of one pixel: oneDNN's are up to twice as fast there as the products of other libraries.
    Elsewhere a product, which GPUs do not round to TF32 as they do convolutions.
    """

    def __init__(self, weight: Tensor, bias: Tensor, precision: torch.dtype, relu: bool = False) -> None:
        super().__init__(weight[:, :, None, None], bias, (0, 0), precision, relu)

    def forward(self, features: Tensor) -> Tensor:
        """Shape (A, N, E) to (A, N, E')."""
        if _is_fused(features):
            return as_rows(super().forward(as_image(features)))
        found = functional.linear(features, self.get_buffer("weight").flatten(1), self.get_buffer("bias"))
        return found.relu_() if self.relu else found


def folded(weight: Tensor, bias: Tensor | None, norm: ObservedBatchNorm) -> tuple[Tensor, Tensor]:
    """The weights, shape (C', ...), and biases, (C',), of a layer and its batch normalisation as one, as `in_full`."""
    mean, variance = in_full(norm.get_buffer("running_mean")), in_full(norm.get_buffer("running_var"))
    scale = in_full(norm.weight) / (variance + norm.eps).sqrt()
    shift = in_full(norm.bias) - mean * scale
    if bias is not None:
        shift = shift + in_full(bias) * scale
    return in_full(weight) * scale.view(-1, *[1] * (weight.ndim - 1)), shift


def in_full(weight: Tensor) -> Tensor:
    """A weight in float64, on the processor: Apple's GPUs know no such numbers."""
    return weight.detach().cpu().double()


def as_image(rows: Tensor) -> Tensor:
    """Shape (H, W, C) to (1, C, H, W), channels last in memory."""
    return rows.unsqueeze(0).permute(0, 3, 1, 2)


def as_rows(image: Tensor) -> Tensor:
    """Shape (1, C, H, W) to (H, W, C)."""
    return image.squeeze(0).permute(1, 2, 0)


def largest(features: Tensor, dim: int) -> Tensor:
    """The maximum along an axis of numbers that are never negative: their bits are ordered as they are.

    Integers are compared several times as fast as bfloat16 on processors.
    """
    return features.view(_INTEGERS[features.dtype]).amax(dim).view(features.dtype)


def larger(features: Tensor, dim: int) -> Tensor:
    """`largest` along an axis of two."""
    one, other = features.view(_INTEGERS[features.dtype]).unbind(dim)
    return torch.maximum(one, other).view(features.dtype)


class ExactLinear(nn.Module):
    """A linear layer that takes features of any precision and gives float32.

    What a product of bfloat16 loses when it is rounded would make classes of almost equal logits change places. The
    product is computed twice: the second time without what the first one gave, which leaves what that had lost.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, precision: torch.dtype) -> None:
        super().__init__()
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        self.at_once = FusedLinear(weight, bias, precision) if precision == torch.float32 else None
        self.register_buffer("weight", weight.detach().T.to(precision).contiguous())
        self.register_buffer("bias", bias.detach().float())

    def forward(self, features: Tensor) -> Tensor:
        """Shape (N, E) to (N, K)."""
        if self.at_once is not None:
            found: Tensor = self.at_once(features.unsqueeze(0)).squeeze(0)
            return found
        weight, bias = self.get_buffer("weight"), self.get_buffer("bias")
        rounded = features @ weight
        rest = torch.addmm(rounded, features, weight, beta=-1)
        return rounded.float().add_(rest).add_(bias)


def _is_fused(features: Tensor) -> bool:
    """Whether oneDNN computes a layer and its ReLU in one step."""
    return features.device.type == "cpu" and _fuses(features.dtype)


@cache
def _fuses(dtype: torch.dtype) -> bool:
    """Whether oneDNN is there and computes in this precision."""
    if not torch._C._has_mkldnn or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
