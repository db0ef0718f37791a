"""What each part of CRVQ is worth: perplexity and KL divergence of a model at counted bytes.

Every row is a real container, decoded by the C runtime. `stage` is "init" (before fine-tuning),
"block" or "end-to-end"; `codes` says whether tuning "moved" them or they "stayed", null for init.
`body_bpw` counts codes, scales, codebooks and permutations of the linears, `file_bytes` the whole
file. The text for calibration and tuning is --calibration, the one that is judged --text. Example:
`python benchmarks/crvq_ablation.py --model edgecomp/data/bookworm --calibration calib.txt
--text valid.txt --json`.
"""

from __future__ import annotations

import argparse
import copy
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from container_bytes import bytes_of
from numpy.typing import NDArray
from rows import Row, note, print_rows

from edgecomp.calibration import CalibrateSettings, calibrate_checkpoint
from edgecomp.checkpoint import Checkpoint, open_checkpoint
from edgecomp.compression import Calibration
from edgecomp.compression.job import Job, encode_tensors, linears_job, write
from edgecomp.compression.linears import LinearsJob
from edgecomp.compression.model_keys import accepted_bundle
from edgecomp.compression.tuned_crvq import crvq_job, save_linears
from edgecomp.compression.workfolder import WorkFolder
from edgecomp.crvq.coded_model import CodedModel
from edgecomp.crvq.run import CODEC, CrvqJob, first_codes
from edgecomp.encode import CrvqSettings
from edgecomp.evaluation import LanguageModel, evaluate_models, load_compressed, load_original
from edgecomp.evaluation import read_tokens as read_text
from edgecomp.inspection import inspect_container
from edgecomp.progress import Step, show_progress
from edgecomp.tuning.stages import tuned_blocks, tuned_model

SHARED = Path(__file__).resolve().parents[2] / "shared"
WINDOWS, QUICK_WINDOWS = 256, 64
EPOCHS, QUICK_EPOCHS = 1.0, 0.25

DEFAULT = CrvqSettings()
GREEDY = replace(
    DEFAULT, importance="activation", initialisation="greedy", sweeps=0, allocation="even",
    finetune="none",
)  # fmt: skip
ARMS: dict[str, CrvqSettings] = {
    "1x8, critical 0 (AQLM-style)": replace(DEFAULT, critical=0.0),
    "1+3, critical 2 %": DEFAULT,
    "1+3, critical 3 %": replace(DEFAULT, critical=0.03),
    "1+3, critical 5 %": replace(DEFAULT, critical=0.05),
    "critical 2 % as 4-bit scalars": replace(DEFAULT, critical_codes="scalar"),
    "1+3, 2 %, importance activation": replace(DEFAULT, importance="activation"),
    "1+3, 2 %, importance weight": replace(DEFAULT, importance="weight"),
    "1+3, 2 %, importance random": replace(DEFAULT, importance="random"),
    "1+3, 2 %, the same share everywhere": replace(DEFAULT, allocation="even"),
    "1+3, 2 %, greedy start": replace(DEFAULT, initialisation="greedy"),
    "greedy pipeline: k-means, no sweeps, even": GREEDY,
    "greedy pipeline with 3 sweeps": replace(GREEDY, sweeps=3),  # nearer to the released code
}


@dataclass(frozen=True)
class Setting:
    """What all arms have in common."""

    checkpoint: Checkpoint
    calibration: Calibration
    folder: Path


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline, and what tuning did with codes; None where nothing was tuned."""

    name: Literal["init", "block", "end-to-end"]
    codes: Literal["moved", "stayed"] | None = None

    @property
    def title(self) -> str:
        """Both in words."""
        return self.name if self.codes is None else f"{self.name}, codes {self.codes}"


@dataclass(frozen=True)
class Made:
    """A container of an arm after a stage."""

    settings: str
    stage: Stage
    path: Path
    seconds: float

    @property
    def title(self) -> str:
        """What no other container is called."""
        return f"{self.settings}, {self.stage.title}"


def arm_containers(name: str, settings: CrvqSettings, common: Setting) -> Iterator[Made]:
    """The containers of an arm, stage by stage."""
    work = common.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    fisher = common.folder / "crvq-fisher.safetensors"
    if fisher.is_file():  # depends on the model and the text alone
        shutil.copy(fisher, work)
    number = len(list(common.folder.glob("*.gguf")))
    folder = WorkFolder(work, restarted=False)

    def show(step: Step) -> None:
        progress(replace(step, item=f"{name}: {step.item}"))

    with show_progress() as progress:
        job = Job(common.checkpoint, settings, work / "out.gguf", show, lambda line: None,
                  common.calibration)  # fmt: skip
        linears = linears_job(job, folder)
        assert linears is not None
        encode_tensors(job, folder, set(linears.names))
        stages = arm_stages(crvq_job(linears), settings)
        for k, (stage, coded, seconds) in enumerate(stages):
            path = common.folder / f"{number:02}-{k}.gguf"
            write_container(replace(job, out=path), linears, coded)
            yield Made(name, stage, path, seconds)
    if (work / fisher.name).is_file():
        shutil.copy(work / fisher.name, fisher)


def arm_stages(job: CrvqJob, settings: CrvqSettings) -> Iterator[tuple[Stage, CodedModel, float]]:
    """The coded model after every stage, and the seconds that the stage took."""
    started = time.perf_counter()
    start = first_codes(job)
    yield Stage("init"), start, time.perf_counter() - started
    if settings.finetune == "none":
        return
    outcomes: tuple[Literal["moved", "stayed"], ...] = ("moved", "stayed")
    for codes in outcomes:
        part = replace(job, settings=replace(settings, move_codes=codes == "moved"))
        for file in [*job.folder.glob("crvq-block-*"), *job.folder.glob("crvq-model*")]:
            file.unlink()
        started = time.perf_counter()
        coded = tuned_blocks(part, copy.deepcopy(start), CODEC)
        yield Stage("block", codes), coded, time.perf_counter() - started
        started = time.perf_counter()
        tuned = tuned_model(part, copy.deepcopy(coded), CODEC)
        yield Stage("end-to-end", codes), tuned, time.perf_counter() - started


def write_container(job: Job, linears: LinearsJob, coded: CodedModel) -> None:
    """Writes a coded model to `job.out`."""
    save_linears(linears, coded)
    bundle = accepted_bundle(
        job.checkpoint, job.settings, linears.folder.path / "complete", job.note
    )
    write(job, linears.folder, bundle)


def judged(
    made: list[Made], original: LanguageModel, tokens: NDArray[np.int64], windows: int
) -> Iterator[Row]:
    """The rows of some containers."""
    models = {m.title: load_compressed(m.path) for m in made}
    scores = evaluate_models(models, original, tokens, windows)
    for m in made:
        quality = scores.candidates[m.title]
        names = frozenset(
            row.name for row in inspect_container(m.path).tensors if "crvq" in row.codec
        )
        n_bytes, n_weights = bytes_of(m.path, names.__contains__)
        yield {
            "settings": m.settings,
            "stage": m.stage.name,
            "codes": m.stage.codes,
            "file_bytes": m.path.stat().st_size,
            "body_bpw": 8 * n_bytes / n_weights,
            **quality.as_fields(),
            "original_ppl": scores.original.ppl,
            "seconds": m.seconds,
        }


def parser_of_arguments() -> argparse.ArgumentParser:
    """What the command line understands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="Hugging Face folder or hub id")
    parser.add_argument("--calibration", type=Path, default=SHARED / "data" / "books_calib.txt",
                        help="UTF-8 text to calibrate and tune with")  # fmt: skip
    parser.add_argument("--text", type=Path, default=SHARED / "data" / "books_valid.txt",
                        help="UTF-8 text to predict")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="less tuning, 64 windows of text")
    parser.add_argument("--windows", type=int, help=f"of text to judge; {WINDOWS} by default")
    parser.add_argument("--epochs", type=float, help=f"of tuning; {EPOCHS} by default")
    parser.add_argument("--arm", action="append", choices=ARMS, help="only this one; may repeat")
    return parser


def main() -> None:
    """Prints the rows."""
    parser = parser_of_arguments()
    arguments = parser.parse_args()
    for option, path in (("--calibration", arguments.calibration), ("--text", arguments.text)):
        if not path.is_file():
            parser.error(f"no text at {path}: give one with {option}")
    windows = arguments.windows or (QUICK_WINDOWS if arguments.quick else WINDOWS)
    epochs = arguments.epochs or (QUICK_EPOCHS if arguments.quick else EPOCHS)

    checkpoint = open_checkpoint(arguments.model)
    if checkpoint.tokenizer is None:
        parser.error(f"{arguments.model} has no tokenizer.json")
    tokens = read_text(checkpoint.tokenizer, arguments.text.read_text(encoding="utf-8"))
    original = load_original(checkpoint)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        note("calibrate")
        statistics = folder / "statistics"
        how = CalibrateSettings(windows=1024, context=256)
        calibrate_checkpoint(checkpoint, arguments.calibration, statistics, how)
        calibration = Calibration(arguments.calibration, statistics)
        common = Setting(checkpoint, calibration, folder)
        for arm in arguments.arm or ARMS:
            made = list(arm_containers(arm, replace(ARMS[arm], epochs=epochs), common))
            found = list(judged(made, original, tokens, windows))
            rows += [{**row, "epochs": epochs} for row in found]
            for m, row in zip(made, found, strict=True):
                note(f"{m.title}: ppl {row['ppl']:.2f}, KL {row['kl']:.4f}")
    print_rows(rows, arguments.json)


if __name__ == "__main__":
    main()
