"""The statistics of all windows, one block after the other, into a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgecomp.calibration.errors import CalibrationError
from edgecomp.calibration.folder import HEAD, StatisticsFolder, block_file
from edgecomp.calibration.hidden import HiddenStates, HiddenWriter
from edgecomp.calibration.sites import Site, find_linears, watch_linears
from edgecomp.calibration.streaming import StreamedNetwork
from edgecomp.calibration.sums import SiteSums
from edgecomp.progress import ProgressCallback, Step

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["GatherJob", "gather"]

BATCH_TOKENS = 4096  # tokens that a block reads at once


@dataclass(frozen=True)
class GatherJob:
    """What a run works on and whom it tells; `tokens` int64 (windows, context)."""

    network: StreamedNetwork
    tokens: NDArray[np.int64]
    folder: StatisticsFolder
    progress: ProgressCallback
    note: Callable[[str], None]

    @property
    def batch(self) -> int:
        """Windows that a block reads at once."""
        return max(1, BATCH_TOKENS // int(self.tokens.shape[1]))

    def hidden(self, i: int) -> HiddenStates:
        """The input of block i, of all windows."""
        windows, context = self.tokens.shape
        return HiddenStates(self.folder.hidden(i), windows, context, self.network.hidden_size)

    def show(self, item: str, part: int, done: int) -> None:
        """Tells that `done` windows went through a part: a block, or the head after them."""
        windows, parts = self.tokens.shape[0], self.network.n_blocks + 1
        self.progress(
            Step("calibrate", item, part * windows + done, parts * windows, unit="windows")
        )


def gather(job: GatherJob) -> tuple[dict[str, tuple[Site, ...]], int]:
    """The sites of every file that this completes, in order, and how many files were there before.

    Raises CheckpointError for weights or activations that are not finite, CalibrationError for a
    network without such statistics or too small a disk, OSError when a file cannot be written.
    """
    network = job.network
    sites = {block_file(i): network.linear_sites(i) for i in range(network.n_blocks)}
    sites[HEAD] = (network.head_site(),)
    names = list(sites)
    done = 0
    while done < len(names) and job.folder.finished(names[done], sites[names[done]]):
        done += 1
    if 0 < done < len(names):
        if job.hidden(done).is_complete():
            job.note(f"going on with {done} of {len(names) - 1} blocks finished before")
        else:
            job.note("starting over: a file of the earlier run is damaged or missing")
            done = 0
    if done < len(names):
        job.folder.reopen()
        check_space(job, sites)
    if done == 0:
        job.folder.clear()
        embed(job)
    for i in range(done, network.n_blocks):
        gather_block(job, i, sites[names[i]])
    if done < len(names):
        gather_head(job, sites[HEAD])
    return sites, done


def embed(job: GatherJob) -> None:
    """Writes the first block's input."""
    import torch

    job.show("embeddings", 0, 0)
    with HiddenWriter(job.hidden(0)) as writer:
        for first in range(0, job.tokens.shape[0], job.batch):
            writer.write(job.network.embed(torch.from_numpy(job.tokens[first : first + job.batch])))


def gather_block(job: GatherJob, i: int, sites: tuple[Site, ...]) -> None:
    """Writes block i's statistics and the next block's input, in one pass over the windows."""
    import torch

    network, where = job.network, f"block {i}"
    job.show(where, i, 0)
    block = network.load_block(i)
    linears = find_linears(block, network.block_tensors(i))
    sums = SiteSums(where, sites)

    def read(x: torch.Tensor, modules: list[nn.Module]) -> None:
        sums.add(x, tuple(linears[module] for module in modules))

    done = 0
    with torch.no_grad(), HiddenWriter(job.hidden(i + 1)) as writer:
        for hidden in job.hidden(i).batches(job.batch):
            with watch_linears(linears, read):
                output = network.run_block(i, block, hidden.to(network.device))
            writer.write(output)
            done += hidden.shape[0]
            job.show(where, i, done)
    job.folder.save(block_file(i), sites, lambda site: sums.take_mean(site, job.tokens.size))


def gather_head(job: GatherJob, sites: tuple[Site, ...]) -> None:
    """Writes the statistics of the head's input; the head itself is not read."""
    import torch

    network, last = job.network, job.network.n_blocks
    job.show("head", last, 0)
    network.release()
    sums = SiteSums("the head", sites)
    done = 0
    with torch.no_grad():
        for hidden in job.hidden(last).batches(job.batch):
            sums.add(network.head_input(hidden.to(network.device)), sites[0].tensors)
            done += hidden.shape[0]
            job.show("head", last, done)
    job.folder.save(HEAD, sites, lambda site: sums.take_mean(site, job.tokens.size))


def check_space(job: GatherJob, sites: dict[str, tuple[Site, ...]]) -> None:
    """CalibrationError when the disk has not enough room for statistics and hidden states."""
    matrices = sum(4 * site.columns**2 for each in sites.values() for site in each)
    needed = matrices + 2 * job.hidden(0).n_bytes - job.folder.n_bytes()
    free = shutil.disk_usage(job.folder.path).free
    if free < needed:
        raise CalibrationError(
            f"{job.folder.path} has {free / 1e6:.1f} MB free, about {needed / 1e6:.1f} MB are "
            "needed",
            "free space, choose another disk, or read fewer windows of the text",
        )
