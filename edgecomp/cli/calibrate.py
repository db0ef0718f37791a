"""What `edgecomp calibrate` prints."""

from __future__ import annotations

from edgecomp.calibration import CalibrateReport
from edgecomp.terminal import printable

__all__ = ["calibrate_object", "print_calibrate"]


def calibrate_object(report: CalibrateReport) -> dict[str, object]:
    """A calibration's report as JSON fields."""
    return {
        "path": str(report.path),
        "file_bytes": report.file_bytes,
        "windows": report.windows,
        "context": report.context,
        "tokens": report.tokens,
        "blocks": report.n_blocks,
        "sites": report.n_sites,
        "tensors": report.n_tensors,
        "resumed_blocks": report.resumed_blocks,
        "device": report.device,
        "seconds": report.seconds,
        "imatrix": None if report.imatrix is None else str(report.imatrix),
        "notes": list(report.notes),
    }


def print_calibrate(report: CalibrateReport) -> None:
    """A calibration's report, one fact a line."""
    print(f"folder: {printable(str(report.path))}")
    print(f"bytes: {report.file_bytes}")
    print(f"tokens: {report.tokens} in {report.windows} windows of {report.context}")
    print(f"inputs: {report.n_sites}, read by {report.n_tensors} tensors")
    print(f"device: {report.device}")
    print(f"seconds: {report.seconds:.2f}")
    if report.imatrix is not None:
        print(f"imatrix: {printable(str(report.imatrix))}")
