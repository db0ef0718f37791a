"""Statistics of a model's activations, gathered block by block in bounded memory."""

from edgecomp.calibration.errors import CalibrationError
from edgecomp.calibration.job import CalibrateReport, calibrate_checkpoint
from edgecomp.calibration.settings import CalibrateSettings
from edgecomp.calibration.sites import Site
from edgecomp.calibration.statistics import Statistics, open_statistics
from edgecomp.calibration.streaming import StreamedNetwork, open_streamed

__all__ = [
    "CalibrateReport",
    "CalibrateSettings",
    "CalibrationError",
    "Site",
    "Statistics",
    "StreamedNetwork",
    "calibrate_checkpoint",
    "open_statistics",
    "open_streamed",
]
