"""Layers of trained networks in one step: batch normalisation folded into the weights before it, ReLU done on the way."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.temporal_convolutions import ConvolutionOverTime, ObservedBatchNorm

_INTEGERS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}


class FusedConvolution(nn.Module):
    """A convolution, its batch normalisation and ReLU, channels last in memory.

    Args:
        convolution: Over space, or over time: then over the first axis of images (T, N).
        norm: What follows it.
        precision: Of the weights, and of what it takes and gives.
    """

    def __init__(
        self, convolution: nn.Conv2d | ConvolutionOverTime, norm: ObservedBatchNorm, precision: torch.dtype
    ) -> None:
        super().__init__()
        weight, bias = folded(convolution.weight, convolution.bias, norm)
        over_time = isinstance(convolution, ConvolutionOverTime)
        if over_time:
            weight = weight.unsqueeze(3)  # (C', C, k, 1)
        self.padding = [convolution.kernel_size[0] // 2, 0] if over_time else [0, 1]
        self.register_buffer("weight", weight.to(precision, memory_format=torch.channels_last))
        self.register_buffer("bias", bias.to(precision))

    def forward(self, image: Tensor) -> Tensor:
        """Shape (B, C, H, W) to (B, C', H', W): time is padded with zeros, of space the width but not the height."""
        if image.device.type == "cpu" and _fuses(image.dtype):
            fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
                image, self.weight, self.bias, self.padding, [1, 1], [1, 1], 1, "relu", [], ""
            )
            return fused
        weight, bias = self.get_buffer("weight"), self.get_buffer("bias")
        return functional.conv2d(image, weight, bias, padding=self.padding).relu_()


def folded(weight: Tensor, bias: Tensor | None, norm: ObservedBatchNorm) -> tuple[Tensor, Tensor]:
    """The weights, shape (C', ...), and biases, (C',), of a layer and its batch normalisation as one, float64."""
    mean, variance = norm.get_buffer("running_mean").double(), norm.get_buffer("running_var").double()
    scale = norm.weight.detach().double() / (variance + norm.eps).sqrt()
    shift = norm.bias.detach().double() - mean * scale
    if bias is not None:
        shift = shift + bias.detach().double() * scale
    return weight.detach().double() * scale.view(-1, *[1] * (weight.ndim - 1)), shift


def as_image(rows: Tensor) -> Tensor:
    """Shape (H, W, C) to (1, C, H, W), channels last in memory."""
    return rows.unsqueeze(0).permute(0, 3, 1, 2)


def as_rows(image: Tensor) -> Tensor:
    """Shape (1, C, H, W) to (H, W, C)."""
    return image.squeeze(0).permute(1, 2, 0)


def largest(features: Tensor, dim: int, out: Tensor | None = None) -> Tensor:
    """The maximum along an axis of numbers that are never negative: their bits are ordered as they are.

    Integers are compared several times as fast as bfloat16 on processors.
    """
    integers = _INTEGERS[features.dtype]
    if out is None:
        return features.view(integers).amax(dim).view(features.dtype)
    return torch.amax(features.view(integers), dim, out=out.view(integers)).view(features.dtype)


def larger(features: Tensor, dim: int) -> Tensor:
    """`largest` along an axis of two."""
    one, other = features.view(_INTEGERS[features.dtype]).unbind(dim)
    return torch.maximum(one, other).view(features.dtype)


class ExactLinear(nn.Module):
    """A linear layer that takes features of any precision and gives float32.

    What a product of bfloat16 loses when it is rounded would make classes of almost equal logits change places. The
    product is computed twice: the second time without what the first one gave, which leaves what that had lost.
    """

    def __init__(self, weight: Tensor, bias: Tensor, precision: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().T.to(precision).contiguous())
        self.register_buffer("bias", bias.detach().float())

    def forward(self, features: Tensor) -> Tensor:
        """Shape (N, E) to (N, K)."""
        weight, bias = self.get_buffer("weight"), self.get_buffer("bias")
        if weight.dtype == torch.float32:
            return torch.addmm(bias, features, weight)
        rounded = features @ weight
        rest = torch.addmm(rounded, features, weight, beta=-1)
        return rounded.float().add_(rest).add_(bias)


def _fuses(dtype: torch.dtype) -> bool:
    """Whether oneDNN is there and computes in this precision."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
