"""Statistics of a model's activations, gathered block by block in bounded memory."""

from edgecomp.calibration.sites import Site
from edgecomp.calibration.streaming import StreamedNetwork, open_streamed

__all__ = ["Site", "StreamedNetwork", "open_streamed"]
