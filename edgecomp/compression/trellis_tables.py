"""The trellis of every kind of tensor, its table fitted where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from edgecomp.checkpoint import Checkpoint
from edgecomp.compression.tensor_settings import integers_of, rate_of
from edgecomp.encode import Settings, TrellisSettings
from edgecomp.encode.trellis.codes import TrellisCode, chosen_code
from edgecomp.encode.trellis.refit import fitted_code

__all__ = ["fitted_codes"]


def fitted_codes(checkpoint: Checkpoint, settings: Settings) -> Mapping[str, TrellisCode]:
    """A trellis for every matrix, by tensor; tensors of a kind share it. Empty without refitting.

    Weights that are not finite are none of its business: encoding names them.
    """
    from edgecomp.tuning.names import kind_of

    if not isinstance(settings, TrellisSettings) or not settings.refit:
        return {}
    kinds: dict[str, list[str]] = {}
    for entry in checkpoint.tensors:
        if len(entry.shape) >= 2 and integers_of(entry.name, settings) is None:
            kinds.setdefault(kind_of(entry.name), []).append(entry.name)
    codes: dict[str, TrellisCode] = {}
    for names in kinds.values():
        own = rate_of(names[0], settings)
        code = fitted_code(chosen_code(own), map(checkpoint.source, names), own)
        codes |= dict.fromkeys(names, code)
    return codes
