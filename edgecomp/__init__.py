"""Compress a model's weights for a device, and judge what that cost.

    import edgecomp
    report = edgecomp.compress("path/to/model", "model.gguf", edgecomp.TrellisSettings(bits=4))
    print(edgecomp.inspect("model.gguf").bpw)
    quality = edgecomp.evaluate("model.gguf", "path/to/model", "text.txt", windows=64)

`compress` and `evaluate` need `pip install 'edgecomp[compress]'`. Nothing here imports torch before
a function needs it. The road a model takes is in edgecomp/pipeline.py.
"""

from edgecomp.compression import Calibration
from edgecomp.encode import (
    CrvqSettings,
    LatticeSettings,
    PaperSettings,
    TrellisSettings,
    UniformSettings,
)
from edgecomp.pipeline import calibrate, compress, evaluate, inspect

__all__ = ["Calibration", "CrvqSettings", "LatticeSettings", "PaperSettings", "TrellisSettings",
           "UniformSettings", "calibrate", "compress", "evaluate", "inspect"]  # fmt: skip
