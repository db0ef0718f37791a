"""The container: GGUF files with tensors in edgecomp's formats (docs/format.md)."""

from exporters.gguf.contents import TensorEntry
from exporters.gguf.reader import Container, open_container
from exporters.gguf.sizes import table_bytes, tensor_bytes
from exporters.gguf.spec import ContainerError
from exporters.gguf.writer import ContainerSummary, write_container

__all__ = [
    "Container",
    "ContainerError",
    "ContainerSummary",
    "TensorEntry",
    "open_container",
    "table_bytes",
    "tensor_bytes",
    "write_container",
]
