"""What is raised where a Hessian has no Cholesky factor, with the tensor's name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.linalg import LinAlgError  # type: ignore[attr-defined]  # torch has no type of it

from edgecomp.encode.indefinite import IndefiniteError

__all__ = ["IndefiniteError", "LinAlgError", "tensor_named"]


@contextmanager
def tensor_named(tensor: str) -> Iterator[None]:
    """IndefiniteError in place of torch's error for a factor or solution that does not exist."""
    try:
        yield
    except LinAlgError as error:
        raise IndefiniteError(tensor) from error
