"""Trees asked at the speed of the machine: ranks in place of values, and 64 pixels at a time through shallow trees.

A shallow tree asks all of its questions of all pixels, without a branch: each question chooses, from the leaves
upwards, between what its two sides found. That is two instructions for 64 pixels, and cheaper than to follow each pixel
down, which waits for memory at every step. Deep trees, as a random forest has them, are followed, for they ask few of
their questions of any one pixel.

References:
    Lucchese et al. (2015), QuickScorer: a fast algorithm to rank documents with additive ensembles of regression trees,
    SIGIR; Ye et al. (2018), RapidScorer, KDD: they too ask all questions, and keep what leaves are left as bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cropmap_core.inference.lanes import COUNT, choose, load, splat, store
from cropmap_core.inference.ranks import BLOCK, Floats, Normalise, RealRanks, Thresholds, WholeRanks, make_ranks
from cropmap_core.io.compiling import compiled
from cropmap_core.timeseries.kernels import over_pixels
from cropmap_core.timeseries.series import Mask, Values
from models.network import Network
from models.tree_ensemble import LEAST_PROBABILITY, TreeEnsemble

Progress = Callable[[float], None]

MOST_ASKED_OF_ALL = 8
"""Depth of trees whose questions are all asked."""
_NEVER_ABOVE = 255  # of a rank that is a byte
_BYTES_OF_RANKS = 2**19  # that are made at once: half of a second-level cache
_WORK_AT_ONCE = 2**25  # pixels times trees between two reports of progress
_LEAF_NUMBERS = np.arange(4 * 64).astype(np.uint8)


@dataclass(frozen=True)
class _ShallowTrees:
    """Trees of which all questions are asked, each filled up to 3, 6, 7 or 8 questions from root to leaf."""

    parts: NDArray[np.int64]
    """How many times 64 leaves a tree has; 0 of one with 8."""
    nodes: NDArray[np.int64]
    """The first of a tree's questions."""
    leaves: NDArray[np.int64]
    """The first of its leaves."""
    asked: NDArray[np.int64]
    """Where the ranks of a question's feature begin in a block."""
    most: NDArray[np.uint8]
    """The rank above which a question leads to the right."""
    scores: Floats
    """Of leaves, shape (outputs, leaves)."""

    def find(self, ranks: NDArray[Any], classes: NDArray[np.int64], out: Floats) -> None:
        _ask_all(
            ranks, self.parts, self.nodes, self.leaves, self.asked, self.most, self.scores, _LEAF_NUMBERS, classes, out
        )


@dataclass(frozen=True)
class _DeepTrees:
    """Trees that pixels are followed through."""

    roots: NDArray[np.int64]
    questions: NDArray[np.uint32]
    """Of questions and leaves, shape (questions + leaves, 4): where the ranks of the feature begin in a block; the rank
    above which the second child is the next, of leaves one that no rank is above; the first child, which the second one
    is beside, of a leaf itself; nothing."""
    scores: Floats
    """Of questions and leaves, shape (questions + leaves, outputs)."""

    def find(self, ranks: NDArray[Any], classes: NDArray[np.int64], out: Floats) -> None:
        _follow(ranks, self.roots, self.questions, self.scores, classes, out)


class TreeKernel:
    """The trees of an ensemble, laid out to be asked quickly.

    Args:
        trees: On the CPU. What it holds is copied.
    """

    def __init__(self, trees: TreeEnsemble) -> None:
        self.times, self.channels, self.classes = trees.times, trees.channels, trees.classes
        self._averaged = trees.averaged
        self._trees = len(trees.roots)
        self._base: Floats = trees.base.numpy().copy()
        self._tree_classes = trees.tree_classes.numpy().astype(np.int64)
        thresholds, most = _ranked_questions(trees)
        self._thresholds = thresholds
        shallow = thresholds.dtype == np.uint8 and trees.depth <= MOST_ASKED_OF_ALL
        self._layout = _shallow(trees, most) if shallow else _deep(trees, most)
        self._ranks: dict[tuple[str, tuple[int, ...], bool], WholeRanks | RealRanks] = {}

    def logits(
        self,
        values: Values,
        valid: Mask,
        normalise: Normalise | None = None,
        there: Sequence[int] | None = None,
        progress: Progress = lambda fraction: None,
    ) -> Tensor:
        """What `TreeEnsemble.logits` gives for normalised values.

        Args:
            values: Channels that are `there`, int16 or float32, shape (T, C, H, W).
            valid: Where they may be used, of the same T, H and W.
            normalise: What would have to be done to them, for a type of values and for channels always the same; None
                for nothing.
            there: Places of the channels that are there, in order; None for all.
            progress: Called with the share that is done; may raise to stop.

        Returns:
            float32, shape (K, H, W).

        Raises:
            ValueError: The values have another number of dates or channels than the trees were grown on.
        """
        there = tuple(range(self.channels) if there is None else there)
        times, channels, height, width = values.shape
        if times != self.times:
            raise ValueError(f"x has {times} dates; the trees were grown on {self.times}")
        if channels != len(there):
            raise ValueError(f"x has {channels} channels; expected {len(there)}")
        kind = (values.dtype.kind, there, normalise is None)
        if kind not in self._ranks:
            self._ranks[kind] = make_ranks(self._thresholds, values.dtype, self.channels, there, normalise)
        pixels = height * width
        flat = np.ascontiguousarray(values).reshape(times, channels, pixels)
        usable = np.ascontiguousarray(valid).reshape(times, pixels)
        found = np.empty((self.classes, pixels), np.float32)
        at_once = max(BLOCK, _WORK_AT_ONCE // self._trees)
        for start in range(0, pixels, at_once):
            progress(start / pixels)
            count = min(at_once, pixels - start)
            over_pixels(self._part, count, self._ranks[kind], flat, usable, found, start)
        return torch.from_numpy(found).view(self.classes, height, width)

    def _part(
        self,
        ranks: WholeRanks | RealRanks,
        values: Values,
        valid: Mask,
        found: Floats,
        start: int,
        begin: int,
        end: int,
    ) -> None:
        features, dtype = len(self._thresholds.starts) - 1, self._thresholds.dtype
        blocks = max(1, _BYTES_OF_RANKS // (features * BLOCK * dtype.itemsize))
        for first in range(start + begin, start + end, blocks * BLOCK):
            last = min(first + blocks * BLOCK, start + end)
            own = np.zeros((-(-(last - first) // BLOCK), features * BLOCK), dtype)
            ranks.fill(values, valid, first, last, own)
            sums = found[:, first:last]
            sums[:] = self._base[:, None]
            self._layout.find(own, self._tree_classes, sums)
            if self._averaged:
                sums /= np.float32(self._trees)
                np.log(np.maximum(sums, np.float32(LEAST_PROBABILITY), out=sums), out=sums)


def ask_by_kernels(network: Network) -> TreeKernel | None:
    """Lets all trees of a network on the CPU be asked by kernels: its own, those of members, those on features.

    Args:
        network: With its weights, which do not change any more.

    Returns:
        The kernel of the network itself if it is a `TreeEnsemble`, else None.
    """
    kernel = None
    for module in network.modules():
        if isinstance(module, TreeEnsemble):
            kernel = TreeKernel(module)
            module.asked_by = partial(_logits_of_batch, kernel)
    return kernel if isinstance(network, TreeEnsemble) else None


def _logits_of_batch(kernel: TreeKernel, x: Tensor) -> Tensor:
    """The logits of normalised values, of shape (B, T, C, H, W)."""
    batch, times, channels, height, width = x.shape
    pixels = x.detach().permute(1, 2, 0, 3, 4).reshape(times, channels, batch * height, width)  # (T, C, B * H, W)
    found = kernel.logits(pixels.float().numpy(), np.ones((times, batch * height, width), bool))
    return found.view(-1, batch, height, width).movedim(1, 0)  # (B, K, H, W)


def _ranked_questions(trees: TreeEnsemble) -> tuple[Thresholds, NDArray[np.int64]]:
    """All thresholds of each feature, and of each question the place of its threshold among them."""
    asked, thresholds = trees.asked.numpy().astype(np.int64), trees.thresholds.numpy()
    order = np.lexsort((thresholds, asked))
    order = order[~np.isnan(thresholds[order])]  # nothing is less than NaN: such questions are decided already
    in_order, of = thresholds[order], asked[order]
    new = np.ones(len(order), bool)
    new[1:] = (in_order[1:] != in_order[:-1]) | (of[1:] != of[:-1])
    starts = np.searchsorted(of[new], np.arange(trees.times * trees.channels + 1))
    most = np.zeros(len(asked), np.int64)
    most[order] = np.cumsum(new) - 1 - starts[of]
    return Thresholds(in_order[new], starts), most


def _paths(trees: TreeEnsemble) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The first question of each tree, and where each question leads a value that is less, and any other.

    Questions that are decided already, for nothing is less than NaN, are passed over.
    """
    other, less = trees.branches.numpy().astype(np.int64).T
    onward = np.arange(trees.nodes + len(trees.scores))
    decided = np.flatnonzero(np.isnan(trees.thresholds.numpy()))
    onward[decided] = other[decided]
    for _ in range(trees.depth):
        onward = onward[onward]
    return onward[trees.roots.numpy()], onward[less], onward[other]


def _shallow(trees: TreeEnsemble, most: NDArray[np.int64]) -> _ShallowTrees:
    """Fills trees up: below a leaf that comes early are questions whose answers all lead to it."""
    (roots, less, other), count = _paths(trees), trees.nodes
    numbers, depths = roots[:, None], np.zeros(len(roots), np.int64)
    levels = [numbers]
    for depth in range(1, trees.depth + 1):
        asks = numbers < count
        if not asks.any():
            break  # trees may be less deep than they are said to be
        depths[asks.any(axis=1)] = depth
        at = np.where(asks, numbers, 0)
        pair = np.where(asks, less[at], numbers), np.where(asks, other[at], numbers)
        numbers = np.stack(pair, axis=2).reshape(len(roots), -1)
        levels.append(numbers)
    parts = np.select([depths <= 3, depths <= 6], [0, 1], 1 << np.maximum(depths - 6, 0))
    asked, ranks, leaves = [], [], []
    for tree, part in enumerate(parts):
        full = 3 if part == 0 else 5 + int(part).bit_length()
        while len(levels) <= full:
            levels.append(np.repeat(levels[-1], 2, axis=1))
        heap = np.concatenate([level[tree] for level in levels[: full + 1]])
        own = heap[_ORDER[full]]
        asks = own < count
        at = np.where(asks, own, 0)
        asked.append(np.where(asks, trees.asked.numpy()[at] if count else 0, 0) * BLOCK)
        ranks.append(np.where(asks, most[at] if count else 0, _NEVER_ABOVE))
        leaves.append(heap[2**full - 1 :] - count)
    return _ShallowTrees(
        parts.astype(np.int64),
        np.cumsum([0, *map(len, asked)])[:-1],
        np.cumsum([0, *map(len, leaves)])[:-1],
        np.concatenate(asked),
        np.concatenate(ranks).astype(np.uint8),
        np.ascontiguousarray(trees.scores.numpy()[np.concatenate(leaves)].T),
    )


def _below(root: int, levels: int) -> list[int]:
    """Numbers of a question and of those below it, level by level, in a tree that is counted level by level."""
    return [2**level * (root + 1) - 1 + place for level in range(levels) for place in range(2**level)]


def _order_of(depth: int) -> NDArray[np.int64]:
    """How the questions of a full tree lie: those above the parts, then of each part its upper 7 and 8 times 7."""
    if depth == 3:
        return np.array(_below(0, 3))
    roots = range(2 ** (depth - 6) - 1, 2 ** (depth - 5) - 1)
    order = list(range(2 ** (depth - 6) - 1))
    for root in roots:
        order += _below(root, 3)
        for lower in range(8 * (root + 1) - 1, 8 * (root + 1) + 7):
            order += _below(lower, 3)
    return np.array(order)


_ORDER = {depth: _order_of(depth) for depth in (3, 6, 7, 8)}


def _deep(trees: TreeEnsemble, most: NDArray[np.int64]) -> _DeepTrees:
    """Lays trees out level by level, the two children of a question beside each other."""
    (roots, less, other), count = _paths(trees), trees.nodes
    old: list[NDArray[np.int64]] = []
    first, starts, begins = [], [], 0
    for root in roots:
        starts.append(begins)
        level = np.array([root])
        while len(level):
            asks = level < count
            after = begins + len(level)
            own = np.arange(begins, after)
            own[asks] = after + 2 * np.arange(asks.sum())
            old.append(level)
            first.append(own)
            level = np.stack([less[level[asks]], other[level[asks]]], axis=1).reshape(-1)
            begins = after
    numbers = np.concatenate(old)
    asks = numbers < count
    at, leaf = np.where(asks, numbers, 0), np.where(asks, 0, numbers - count)
    questions = np.zeros((len(numbers), 4), np.uint32)
    if count:
        questions[:, 0] = np.where(asks, trees.asked.numpy()[at] * BLOCK, 0)
        questions[:, 1] = most[at]
    questions[~asks, 1] = np.iinfo(np.uint32).max
    questions[:, 2] = np.concatenate(first)
    return _DeepTrees(np.array(starts), questions, trees.scores.numpy()[leaf])


@compiled
def _ask_all(
    ranks: Any,
    parts: Any,
    nodes: Any,
    leaves: Any,
    asked: Any,
    most: Any,
    scores: Any,
    numbers: Any,
    classes: Any,
    out: Any,
) -> None:
    """Adds what all trees say of some blocks of pixels to `out`, shape (K, P)."""
    between, found = np.empty(8 * BLOCK, np.uint8), np.empty(4 * BLOCK, np.uint8)
    for block in range(ranks.shape[0]):
        own, sums = ranks[block], out[:, block * BLOCK : min((block + 1) * BLOCK, out.shape[1])]
        for tree in range(parts.size):
            node = nodes[tree]
            if parts[tree] == 0:
                _of_eight(own, asked, most, node, numbers, 0, found, 0)
            else:
                above = parts[tree] - 1
                for part in range(parts[tree]):
                    first = node + above + 63 * part
                    for lower in range(8):
                        _of_eight(
                            own, asked, most, first + 7 + 7 * lower, numbers, 64 * part + 8 * lower, between, lower
                        )
                    _of_eight_found(own, asked, most, first, between, found, part)
                _of_parts(own, asked, most, node, parts[tree], found)
            _add(scores, leaves[tree], found, classes[tree], sums)


@compiled
def _of_eight(ranks: Any, asked: Any, most: Any, node: int, numbers: Any, first: int, found: Any, place: int) -> None:
    """Which of eight leaves, numbered from `first` on, the pixels of a block reach by seven questions."""
    f0, f1, f2, f3, f4, f5, f6 = _seven(asked, node)
    m0, m1, m2, m3, m4, m5, m6 = _seven_splat(most, node)
    n0, n1, n2, n3, n4, n5, n6 = _seven_splat(numbers, first)
    n7 = splat(numbers[first + 7])
    for at in range(0, BLOCK, COUNT):  # all that is above stays in registers
        one = choose(load(ranks, f3 + at), m3, n1, n0)
        two = choose(load(ranks, f4 + at), m4, n3, n2)
        left = choose(load(ranks, f1 + at), m1, two, one)
        one = choose(load(ranks, f5 + at), m5, n5, n4)
        two = choose(load(ranks, f6 + at), m6, n7, n6)
        right = choose(load(ranks, f2 + at), m2, two, one)
        store(found, place * BLOCK + at, choose(load(ranks, f0 + at), m0, right, left))


@compiled
def _of_eight_found(ranks: Any, asked: Any, most: Any, node: int, between: Any, found: Any, place: int) -> None:
    """The same of what was found for the eight places below."""
    f0, f1, f2, f3, f4, f5, f6 = _seven(asked, node)
    m0, m1, m2, m3, m4, m5, m6 = _seven_splat(most, node)
    for at in range(0, BLOCK, COUNT):
        one = choose(load(ranks, f3 + at), m3, load(between, BLOCK + at), load(between, at))
        two = choose(load(ranks, f4 + at), m4, load(between, 3 * BLOCK + at), load(between, 2 * BLOCK + at))
        left = choose(load(ranks, f1 + at), m1, two, one)
        one = choose(load(ranks, f5 + at), m5, load(between, 5 * BLOCK + at), load(between, 4 * BLOCK + at))
        two = choose(load(ranks, f6 + at), m6, load(between, 7 * BLOCK + at), load(between, 6 * BLOCK + at))
        right = choose(load(ranks, f2 + at), m2, two, one)
        store(found, place * BLOCK + at, choose(load(ranks, f0 + at), m0, right, left))


@compiled
def _seven(values: Any, at: int) -> Any:
    return values[at], values[at + 1], values[at + 2], values[at + 3], values[at + 4], values[at + 5], values[at + 6]


@compiled
def _seven_splat(values: Any, at: int) -> Any:
    one, two, three, four, five, six, seven = _seven(values, at)
    return splat(one), splat(two), splat(three), splat(four), splat(five), splat(six), splat(seven)


@compiled
def _of_parts(ranks: Any, asked: Any, most: Any, node: int, parts: int, found: Any) -> None:
    """The same of what was found for two or four parts, into the place of the first."""
    for at in range(0, BLOCK, COUNT):
        if parts == 2:
            store(found, at, _of_pair(ranks, asked, most, node, at, load(found, at), load(found, BLOCK + at)))
        elif parts == 4:
            left = _of_pair(ranks, asked, most, node + 1, at, load(found, at), load(found, BLOCK + at))
            one, two = load(found, 2 * BLOCK + at), load(found, 3 * BLOCK + at)
            right = _of_pair(ranks, asked, most, node + 2, at, one, two)
            store(found, at, _of_pair(ranks, asked, most, node, at, left, right))


@compiled
def _of_pair(ranks: Any, asked: Any, most: Any, node: int, at: int, left: Any, right: Any) -> Any:
    """What a question chooses for 64 pixels."""
    return choose(load(ranks, asked[node] + at), splat(most[node]), right, left)


@compiled
def _add(scores: Any, leaf: int, found: Any, own_class: int, sums: Any) -> None:
    """Adds to sums, of shape (K, P), the scores of leaves, of shape (outputs, leaves), from one leaf on."""
    first = own_class if scores.shape[0] == 1 else 0
    for output in range(scores.shape[0]):
        own, row = scores[output, leaf:], sums[first + output]
        for pixel in range(row.size):
            row[pixel] += own[found[pixel]]


@compiled
def _follow(ranks: Any, roots: Any, questions: Any, scores: Any, classes: Any, out: Any) -> None:
    """Adds what all trees say of some blocks of pixels to `out`, shape (K, P); tree by tree, to keep it in a cache."""
    at, going = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.uint64)  # a signed place might count from the end
    outputs = scores.shape[1]
    for tree in range(roots.size):
        for block in range(ranks.shape[0]):
            own, sums = ranks[block], out[:, block * BLOCK : min((block + 1) * BLOCK, out.shape[1])]
            count = sums.shape[1]
            for pixel in range(count):
                at[pixel], going[pixel] = roots[tree], pixel
            while count > 0:
                left = np.uint64(0)
                for place in range(np.uint64(count)):  # all on their way take a step: they wait for memory together
                    pixel = going[place]
                    number = at[pixel]
                    asked, most, child = questions[number, 0], questions[number, 1], questions[number, 2]
                    child += np.uint32(own[asked + pixel] > most)
                    at[pixel], going[left] = child, pixel
                    left += np.uint64(child != number)
                count = left
            for pixel in range(sums.shape[1]):
                if outputs == 1:
                    sums[classes[tree], pixel] += scores[at[pixel], 0]
                else:
                    for output in range(outputs):
                        sums[output, pixel] += scores[at[pixel], output]
