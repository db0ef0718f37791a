"""A checkpoint into a container: tensor by tensor, in bounded memory, and resumable."""

from edgecomp.compression.checks import CompressError
from edgecomp.compression.job import compress_checkpoint
from edgecomp.compression.report import CompressReport, RawTensor

__all__ = ["CompressError", "CompressReport", "RawTensor", "compress_checkpoint"]
