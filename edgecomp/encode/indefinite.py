"""What is raised for a Hessian that has no Cholesky factor."""


class IndefiniteError(ValueError):
    """A damped Hessian that is not positive definite; `tensor` is "" where it has no name."""

    def __init__(self, tensor: str) -> None:
        whose = f"tensor {tensor}: its Hessian" if tensor else "the Hessian"
        super().__init__(f"{whose} is not positive definite")
        self.tensor = tensor
