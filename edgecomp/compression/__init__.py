"""A checkpoint into a container: tensor by tensor, in bounded memory, and resumable."""

from edgecomp.compression.job import CompressError, CompressReport, compress_checkpoint

__all__ = ["CompressError", "CompressReport", "compress_checkpoint"]
