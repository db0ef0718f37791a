"""What each part of the trellis codec is worth: KL divergence and perplexity at equal bytes.

Every row is a whole container, decoded by the C runtime. All have 2 bits in the linears and 3 in
the embedding unless they say otherwise; rows with another rate are beside rows of their size. With
`--finetune` rows with tuning instead, beside CRVQ's of their size (half an hour on two cores).
Example:
`python benchmarks/trellis_ablation.py --model edgecomp/data/bookworm --calibration
edgecomp/data/bookworm_calib.txt --text edgecomp/data/bookworm_valid.txt --json`.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from container_bytes import bytes_of
from rows import Row, note, print_rows

import edgecomp
from edgecomp.calibration import CalibrateSettings
from edgecomp.checkpoint import open_checkpoint
from edgecomp.encode import CrvqSettings, TrellisSettings
from edgecomp.encode.settings.crvq import Finetune
from edgecomp.evaluation import (
    LanguageModel,
    evaluate_models,
    load_compressed,
    load_original,
    read_tokens,
)
from edgecomp.progress import show_progress

DEFAULT = TrellisSettings(bits=2)
ARMS: dict[str, TrellisSettings | CrvqSettings] = {
    "default: rotation, feedback, L 12, table of 256": DEFAULT,
    "no rotation": replace(DEFAULT, rotate=False),
    "no feedback": replace(DEFAULT, feedback=False),
    "neither": replace(DEFAULT, rotate=False, feedback=False),
    "L 8": replace(DEFAULT, state_bits=8),
    "L 10": replace(DEFAULT, state_bits=10),
    "L 16": replace(DEFAULT, state_bits=16),
    "table of 64": replace(DEFAULT, table_entries=64),
    "table of 16": replace(DEFAULT, table_entries=16),
    "table fitted to each kind": replace(DEFAULT, refit=True),
    "damping 0.01": replace(DEFAULT, damping=0.01),
    "damping 0.2": replace(DEFAULT, damping=0.2),
    "5 % critical at 4 bits": replace(DEFAULT, critical=0.05),
    "5 % critical at 4 bits, no rotation": replace(DEFAULT, critical=0.05, rotate=False),
    "2.5 bits, embedding 2.5": replace(DEFAULT, bits=2.5, outer_bits=2.5),
    "2 bits, embedding 4": replace(DEFAULT, outer_bits=4),
    "1.5 bits, embedding 4": replace(DEFAULT, bits=1.5, outer_bits=4),
}
TUNINGS: dict[str, Finetune] = {"first codes": "none", "block": "block", "end-to-end": "end-to-end"}
RIVALS: dict[str, TrellisSettings | CrvqSettings] = {
    "crvq, 1 bit and 2 % critical, embedding 4": CrvqSettings(),
    "trellis, 1 bit, embedding 4": TrellisSettings(bits=1, outer_bits=4),
    "trellis, 1.5 bits, embedding 3": TrellisSettings(bits=1.5, outer_bits=3),
    "crvq, 2 bits (groups of 4) and 2 % critical, embedding 4": CrvqSettings(dim=4),
    "trellis, 2 bits, embedding 4": TrellisSettings(bits=2, outer_bits=4),
}
TUNED: dict[str, TrellisSettings | CrvqSettings] = {
    f"{rival}; {how}": replace(settings, finetune=finetune)
    for rival, settings in RIVALS.items()
    for how, finetune in TUNINGS.items()
}
WINDOWS, CONTEXT = 1024, 256  # of calibration
QUICK_WINDOWS = 16


def in_body(name: str) -> bool:
    """False for the embedding, the head and what is not a matrix of a linear layer."""
    return not any(part in name for part in ("embed", "lm_head", "norm", "bias"))


def compressed(
    arguments: argparse.Namespace, arms: dict[str, TrellisSettings | CrvqSettings], folder: Path
) -> dict[str, tuple[Row, LanguageModel]]:
    """Sizes and model of every arm."""
    statistics = folder / "statistics"
    note("calibrate")
    how = CalibrateSettings(WINDOWS, CONTEXT)
    edgecomp.calibrate(arguments.model, arguments.calibration, statistics, how)
    text = edgecomp.Calibration(arguments.calibration, statistics)
    checkpoint = open_checkpoint(arguments.model)
    n_body = sum(entry.n_weights for entry in checkpoint.tensors if in_body(entry.name))
    found = {}
    for number, (name, settings) in enumerate(arms.items()):
        note(name)
        path = folder / f"{number}.gguf"
        report = edgecomp.compress(arguments.model, path, settings, calibration=text)
        row: Row = {
            "settings": name,
            "file_bytes": report.file_bytes,
            "body_bpw": 8 * bytes_of(path, in_body)[0] / n_body,
            "seconds": report.encode_seconds,
        }
        found[name] = row, load_compressed(path)
    return found


def main() -> None:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="Hugging Face folder or hub id")
    parser.add_argument("--calibration", required=True, type=Path, help="UTF-8 text to fit to")
    parser.add_argument("--text", required=True, type=Path, help="UTF-8 text to predict")
    parser.add_argument(
        "--finetune", action="store_true", help="rows with tuning instead, beside CRVQ's"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_WINDOWS} windows")
    parser.add_argument("--windows", type=int, default=256, help="to predict (default 256)")
    arguments = parser.parse_args()
    checkpoint = open_checkpoint(arguments.model)
    if checkpoint.tokenizer is None:
        parser.error(f"{arguments.model} has no tokenizer.json")
    tokens = read_tokens(checkpoint.tokenizer, arguments.text.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        arms = compressed(arguments, TUNED if arguments.finetune else ARMS, Path(name))
        models = {arm: model for arm, (_, model) in arms.items()}
        windows = QUICK_WINDOWS if arguments.quick else arguments.windows
        with show_progress() as progress:
            scores = evaluate_models(models, load_original(checkpoint), tokens, windows, progress)
    rows = [{**row, **scores.candidates[arm].as_fields()} for arm, (row, _) in arms.items()]
    print_rows(rows, arguments.json)


if __name__ == "__main__":
    main()
