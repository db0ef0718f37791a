"""What is raised where a Hessian has no Cholesky factor, with the tensor's name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.linalg import LinAlgError  # type: ignore[attr-defined]  # torch has no type of it

__all__ = ["IndefiniteError", "LinAlgError", "tensor_named"]


class IndefiniteError(ValueError):
    """A damped Hessian that is not positive definite; `tensor` is "" where it has no name."""

    def __init__(self, tensor: str) -> None:
        whose = f"tensor {tensor}: its Hessian" if tensor else "the Hessian"
        super().__init__(f"{whose} is not positive definite")
        self.tensor = tensor


@contextmanager
def tensor_named(tensor: str) -> Iterator[None]:
    """IndefiniteError in place of torch's error for a factor or solution that does not exist."""
    try:
        yield
    except LinAlgError as error:
        raise IndefiniteError(tensor) from error
