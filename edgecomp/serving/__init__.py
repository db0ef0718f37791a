"""An OpenAI-compatible completions server over a model that runs on this machine."""

from edgecomp.serving.settings import ServeSettings

__all__ = ["ServeSettings"]
