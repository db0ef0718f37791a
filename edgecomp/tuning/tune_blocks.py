"""Tunes one block after the other, so that each gives what the original's gives.

Two streams of hidden states go through the model: the original's, whose block outputs are the
targets, and that of the blocks tuned so far. So a block makes up for errors before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from edgecomp.calibration import StreamedNetwork
from edgecomp.calibration.hidden import HiddenStates, HiddenWriter
from edgecomp.tuning.coded_linear import CodedLinear, coded_linears
from edgecomp.tuning.tunable import Mover, T, TunableModel, TuneSettings
from edgecomp.tuning.tune_model import BATCH_TOKENS, steps_of, vector_parameters
from edgecomp.tuning.tuner import Tuner, batches

__all__ = ["BlockTuner"]


class BlockTuner:
    """The two streams over the calibration windows, and the block that comes next."""

    def __init__(
        self, network: StreamedNetwork, tokens: Tensor, folder: Path, settings: TuneSettings
    ) -> None:
        self.network = network
        self.tokens = tokens
        self.folder = folder
        self.settings = settings
        self.batch = max(1, BATCH_TOKENS // tokens.shape[1])

    def hidden(self, stream: str, i: int) -> HiddenStates:
        """A stream's input of block i, of all windows."""
        windows, context = self.tokens.shape
        path = self.folder / f"{stream}-{i:04}.f32"
        return HiddenStates(path, windows, context, self.network.hidden_size)

    def start(self) -> None:
        """Writes the first block's input, the same for both streams."""
        for stream in ("original", "coded"):
            with HiddenWriter(self.hidden(stream, 0)) as writer:
                for first in range(0, len(self.tokens), self.batch):
                    writer.write(self.network.embed(self.tokens[first : first + self.batch]))

    def advance(self, stream: str, i: int, block: nn.Module) -> None:
        """Writes block i's outputs for a stream, and removes its inputs."""
        before = self.hidden(stream, i)
        with torch.no_grad(), HiddenWriter(self.hidden(stream, i + 1)) as writer:
            for part in before.batches(self.batch):
                writer.write(self.network.run_block(i, block, part.to(self.network.device)))

    def tune(
        self,
        i: int,
        coded: TunableModel[T],
        generator: torch.Generator,
        mover: Callable[[Sequence[CodedLinear[T]], int], Mover],
        show: Callable[[int, int, float], None],
    ) -> None:
        """Changes the linears and vectors of block i in `coded`, and moves both streams on.

        The loss is the mean squared error relative to the mean square of what the block adds.
        Codebooks stay where blocks share some. `mover` makes what moves codes, where the settings
        say so.
        """
        block = self.network.load_block(i)
        names = self.network.block_tensors(i)
        self.advance("original", i, block)
        shared = len(coded.codebooks) < len(coded.tensors)
        own = coded.part(name for name in names.values() if name in coded.tensors)
        inputs, targets = self.hidden("coded", i), self.hidden("original", i + 1)
        vectors = vector_parameters(block, names)
        n_steps = steps_of(self.tokens, self.settings.block_epochs)
        with coded_linears(block, own, names) as linears:
            mine = list(linears.values())
            moved = mover(mine, n_steps) if self.settings.move_codes else None
            tuner = Tuner(mine, list(vectors.values()), n_steps, not shared, moved)
            running = 0.0
            size = self.added_square(i) or 1.0
            for done, picks in enumerate(batches(len(self.tokens), self.batch, n_steps, generator)):
                device = self.network.device
                windows = picks.tolist()
                found = self.network.run_block(i, block, inputs.pick(windows).to(device))
                loss = (found - targets.pick(windows).to(device)).square().mean() / size
                value = tuner.step(loss)
                running = value if done == 0 else 0.9 * running + 0.1 * value
                show(done + 1, n_steps, running)
            for parameter in block.parameters():
                parameter.requires_grad_(False)
            self.advance("coded", i, block)
        coded.update(own)
        coded.vectors |= {name: p.detach().clone() for name, p in vectors.items()}

    def added_square(self, i: int) -> float:
        """The mean square of what the original's block i adds to its inputs."""
        streams = [self.hidden("original", number).batches(self.batch) for number in (i, i + 1)]
        total = count = 0.0
        for before, after in zip(*streams, strict=True):
            total += float((after - before).square().sum(dtype=torch.float64))
            count += before.numel()
        return total / count
