"""A checkpoint into a container: tensor by tensor, in bounded memory, and resumable."""

from edgecomp.compression.checks import CompressError
from edgecomp.compression.job import compress_checkpoint
from edgecomp.compression.linears import Calibration
from edgecomp.compression.report import CompressReport, RawTensor

__all__ = ["Calibration", "CompressError", "CompressReport", "RawTensor", "compress_checkpoint"]
