"""The cheapest path of states for every band of a matrix, in torch: for CUDA.

The same float32 operations on every number in the same order as in csrc/trellis.c, so that codes
are the same bytes; that is tested on a CPU, where C is the faster one. It has not been run on a
CUDA device.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from edgecomp.encode._encoder import lib
from edgecomp.encode.trellis.viterbi import values_of_states
from runtime_ops.formats import TrellisFormat
from runtime_ops.formats.trellis import BAND_ROWS, STRIP_COLUMNS

CHUNK_STRIPS: int = lib.EC_CHUNK_STRIPS
LOOKAHEAD: int = lib.EC_LOOKAHEAD
FAR = 1e30  # cost of a state that a walk cannot start from, here and in csrc/trellis.c
CHOICE_BYTES = 1 << 30  # of the bands that are encoded at a time


class Encoding:
    """A matrix that is being encoded from its last column to its first: see viterbi.Encoding."""

    def __init__(
        self,
        fmt: TrellisFormat,
        targets: NDArray[np.float32],
        row_weights: NDArray[np.float32],
        column_weights: NDArray[np.float32],
        table: NDArray[np.float32] | None = None,
        device: str = "cuda",
    ) -> None:
        rows, columns = targets.shape
        self.targets = np.ascontiguousarray(targets)
        self.values = np.zeros_like(self.targets)
        self.codes = np.zeros((rows // BAND_ROWS, fmt.band_bytes((rows, columns))), np.uint8)
        self._format = fmt
        self._device = torch.device(device)
        self._trellis = Trellis(fmt, table, self._device)
        self._states: NDArray[np.int64] | None = None  # of the step behind, (bands,)
        self._row_weights, self._column_weights = row_weights, column_weights

    def encode(self, first: int, end: int, feedback: NDArray[np.float32] | None = None) -> None:
        """Encodes columns first .. end - 1; see viterbi.Encoding."""
        fmt = self._format
        bands = len(self.codes)
        strips = CHUNK_STRIPS if feedback is None else 1
        steps = strips * fmt.steps_per_tile + LOOKAHEAD // fmt.dim
        batch = max(1, CHOICE_BYTES // (steps << (fmt.state_bits - fmt.step_bits)))
        parts = [
            self._encode_bands(slice(low, min(bands, low + batch)), first, end, feedback)
            for low in range(0, bands, batch)
        ]
        states, behind = (np.concatenate(each) for each in zip(*parts, strict=True))
        self._keep_codes(states, first)
        if self._states is None:
            tail = bits_of(behind[:, None], fmt.state_bits - fmt.step_bits)
            self.codes[:, self.codes.shape[1] - fmt.tail_bytes :] = tail
        self._states = states[:, 0]

    def _encode_bands(
        self, bands: slice, first: int, end: int, feedback: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """States of some bands' steps, first step first, and the state behind the last one."""
        fmt, per_tile = self._format, self._format.steps_per_tile
        rows = slice(bands.start * BAND_ROWS, bands.stop * BAND_ROWS)
        x = self._on_device(self.targets[rows, :end])
        h = self._on_device(np.outer(self._row_weights[rows], self._column_weights[:end]))
        shares = None if feedback is None else self._on_device(feedback)
        values = torch.zeros_like(x)
        state = None if self._states is None else self._states_on_device(bands)
        found, behind = [], None
        low, tile = first // STRIP_COLUMNS, end // STRIP_COLUMNS
        while tile > low:
            strips = 1 if shares is not None else min(tile - low, CHUNK_STRIPS)
            decided = strips * per_tile
            steps = min(tile * per_tile, decided + LOOKAHEAD // fmt.dim)
            last = tile - -(-steps // per_tile)
            wanted, weights = (steps_of(fmt, each, last, tile)[:, :steps] for each in (x, h))
            path, before = self._trellis.walk(wanted, weights, state)
            path = path[:, :decided]
            behind = before if behind is None else behind
            put_tiles(fmt, values, self._trellis.values[:, path], tile - strips, tile)
            if shares is not None:
                feed_back(x[:, first:], values[:, first:], shares, tile - 1 - low)
            found.append(path.flip(1))
            state = path[:, -1]
            tile -= strips
        assert behind is not None, "first is less than end"
        self.targets[rows, :end] = x.cpu().numpy()
        self.values[rows, first:end] = values[:, first:].cpu().numpy()
        return torch.cat(found[::-1], 1).cpu().numpy(), behind.cpu().numpy()

    def _keep_codes(self, states: NDArray[np.int64], first: int) -> None:
        fmt = self._format
        own = bits_of(states & ((1 << fmt.step_bits) - 1), fmt.step_bits)
        start = first // STRIP_COLUMNS * fmt.tile_bytes
        self.codes[:, start : start + own.shape[1]] = own

    def _on_device(self, array: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.float32)).to(self._device)

    def _states_on_device(self, bands: slice) -> torch.Tensor:
        assert self._states is not None
        return torch.from_numpy(self._states[bands].copy()).to(self._device)


class Trellis:
    """The states of a trellis in the order of their numbers, and walks through them."""

    def __init__(
        self, fmt: TrellisFormat, table: NDArray[np.float32] | None, device: torch.device
    ) -> None:
        self.values = torch.from_numpy(values_of_states(fmt, table)).to(device)  # (dim, states)
        self.step_bits = fmt.step_bits
        self.groups = 1 << (fmt.state_bits - fmt.step_bits)
        states = torch.arange(1 << fmt.state_bits, dtype=torch.int32, device=device)
        self.states = states
        self.names = states >> (fmt.state_bits - fmt.step_bits)  # which of its successors' choices

    def walk(
        self, x: torch.Tensor, h: torch.Tensor, state: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States of the cheapest paths, int64 (bands, steps), and the state before, (bands,).

        Targets and weights float32 (bands, steps, dim), in the order of the walk; `state` int64
        (bands,) is where walks start, None: anywhere.
        """
        bands, steps, dim = x.shape
        costs = torch.zeros((bands, len(self.states)), device=x.device)
        if state is not None:
            costs = torch.where(self.states == state[:, None], costs, FAR)
        bits = self.named(costs)
        choices = torch.empty((steps, bands, self.groups), dtype=torch.uint8, device=x.device)
        for i in range(steps):
            best = bits.view(bands, -1, self.groups).amin(1)
            choices[i] = best & ((1 << self.step_bits) - 1)
            costs = self.step_cost(x[:, i, 0], h[:, i, 0], 0)
            if dim == 2:
                costs = costs + self.step_cost(x[:, i, 1], h[:, i, 1], 1)
            before = best.view(torch.float32)[:, :, None]
            grouped = before + costs.view(bands, self.groups, -1)
            bits = self.named(grouped.view(bands, -1))
        least = bits.amin(1, keepdim=True)
        state = torch.where(bits == least, self.states, len(self.states)).amin(1).long()
        path = torch.empty((bands, steps), dtype=torch.int64, device=x.device)
        for i in reversed(range(steps)):
            path[:, i] = state
            group = state >> self.step_bits
            state = group + choices[i].gather(1, group[:, None])[:, 0].long() * self.groups
        return path, state

    def step_cost(self, x: torch.Tensor, h: torch.Tensor, d: int) -> torch.Tensor:
        """What weight d of a step costs in every state, float32 (bands, states)."""
        missed = x[:, None] - self.values[d]
        return missed * missed * h[:, None]

    def named(self, costs: torch.Tensor) -> torch.Tensor:
        """Costs as integers, int32; their last bits are the name of the state."""
        return costs.view(torch.int32) & -(1 << self.step_bits) | self.names


def steps_of(fmt: TrellisFormat, matrix: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """Tiles first .. last - 1 of (rows, columns) as a walk sees them, (bands, steps, dim)."""
    part = matrix[:, first * STRIP_COLUMNS : last * STRIP_COLUMNS]
    tiles = part.reshape(-1, BAND_ROWS, last - first, STRIP_COLUMNS).transpose(1, 2)
    order = torch.from_numpy(fmt.order).to(matrix.device)
    elements = tiles.reshape(len(tiles), last - first, -1)[:, :, order]
    return elements.reshape(len(tiles), -1, fmt.dim).flip(1)


def put_tiles(
    fmt: TrellisFormat, matrix: torch.Tensor, walked: torch.Tensor, first: int, last: int
) -> None:
    """Writes (dim, bands, steps) of a walk to tiles first .. last - 1 of (rows, columns)."""
    bands = walked.shape[1]
    elements = walked.flip(2).permute(1, 2, 0).reshape(bands, last - first, -1)
    inverse = torch.from_numpy(np.argsort(fmt.order)).to(matrix.device)
    tiles = elements[:, :, inverse].reshape(bands, last - first, BAND_ROWS, STRIP_COLUMNS)
    part = tiles.transpose(1, 2).reshape(len(matrix), -1)
    matrix[:, first * STRIP_COLUMNS : last * STRIP_COLUMNS] = part


def feed_back(targets: torch.Tensor, values: torch.Tensor, shares: torch.Tensor, tile: int) -> None:
    """Takes the errors of a tile to the columns before it, one column after the other."""
    before = tile * STRIP_COLUMNS
    for column in range(before, before + STRIP_COLUMNS):
        error = targets[:, column] - values[:, column]
        targets[:, :before] += error[:, None] * shares[column, :before]


def bits_of(numbers: NDArray[np.int64], n_bits: int) -> NDArray[np.uint8]:
    """Numbers of so many bits in a row, low bits first, as bytes: uint8 (rows, bytes)."""
    bits = numbers[:, :, None] >> np.arange(n_bits) & 1
    return np.packbits(bits.reshape(len(numbers), -1).astype(np.uint8), 1, "little")
