"""What makes files of a compressed model: a bundle in, a container out."""

from exporters.bundle import MetadataValue, ModelBundle, TensorSource

__all__ = ["MetadataValue", "ModelBundle", "TensorSource"]
