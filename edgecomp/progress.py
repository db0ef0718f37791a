"""Progress of long stages on stderr: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from edgecomp.terminal import printable

__all__ = ["ProgressCallback", "Step", "show_progress"]

LINE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Step:
    """How far a stage is. Its first step says where it starts, with what was there before."""

    stage: str  # "encode", "write", "verify", "evaluate"
    item: str  # what is worked on
    items_done: int
    items: int
    bytes_done: int = 0
    bytes: int = 0  # 0: the stage counts items alone
    unit: str = "tensors"  # what an item is

    @property
    def amounts(self) -> tuple[int, int]:
        """What is done and the whole, in the unit that the rate is given in."""
        return (self.bytes_done, self.bytes) if self.bytes else (self.items_done, self.items)


ProgressCallback = Callable[[Step], None]


@contextmanager
def show_progress() -> Iterator[ProgressCallback]:
    """A callback that shows steps on stderr until the block ends."""
    if not sys.stderr.isatty():
        yield LinePrinter()
        return
    columns = (
        TextColumn("{task.fields[stage]:>8}"),
        BarColumn(),
        TextColumn("{task.fields[numbers]}"),
        TextColumn("{task.fields[item]}", style="dim", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}
        clock = Clock()

        def show(step: Step) -> None:
            done, total = step.amounts
            if step.stage not in tasks:
                tasks[step.stage] = bars.add_task("", stage=step.stage, numbers="", item="")
            numbers, item = describe(step, clock.rate(step)), printable(step.item)
            bars.update(tasks[step.stage], completed=done, total=total, numbers=numbers, item=item)

        yield show


class Clock:
    """Measures a stage's rate from its first step on; a stage that goes back has started again."""

    def __init__(self) -> None:
        self.starts: dict[str, tuple[float, int]] = {}
        self.last: dict[str, int] = {}

    def rate(self, step: Step) -> float:
        """Units a second since the stage's first step; 0 while nothing is known."""
        now = time.monotonic()
        done = step.amounts[0]
        if done < self.last.get(step.stage, 0):
            self.starts[step.stage] = now, done
        self.last[step.stage] = done
        start, before = self.starts.setdefault(step.stage, (now, done))
        return (done - before) / (now - start) if now > start else 0.0


class LinePrinter:
    """Prints a stage's last step, and one step in between every LINE_SECONDS."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.printed = time.monotonic()

    def __call__(self, step: Step) -> None:
        """Shows a step when it is time to."""
        rate = self.clock.rate(step)
        now = time.monotonic()
        done, total = step.amounts
        if (done == total and step.items_done == step.items) or now - self.printed >= LINE_SECONDS:
            self.printed = now
            item = f", {printable(step.item)}" if step.item else ""
            print(f"{step.stage}: {describe(step, rate)}{item}", file=sys.stderr, flush=True)


def describe(step: Step, rate: float) -> str:
    """Items, bytes, rate and time left of a step, such as `12/75 tensors, 1.2/4.0 MB, 3 MB/s`."""
    done, total = step.amounts
    if not step.bytes:
        text = f"{done}/{total} {step.unit}, {rate:.1f}/s"
    else:
        text = (
            f"{step.items_done}/{step.items} {step.unit}, {done / 1e6:.1f}/{total / 1e6:.1f} MB, "
            f"{rate / 1e6:.1f} MB/s"
        )
    if rate > 0 and done < total:
        text += f", {duration(round((total - done) / rate))} left"
    return text


def duration(seconds: int) -> str:
    """Seconds as 12 s, 3:05 or 1:02:03."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"
