"""Reading a model as it was published: weights, config and tokenizer."""

from edgecomp.checkpoint.folder import Checkpoint, open_checkpoint
from edgecomp.checkpoint.hyperparameters import context_length, hyperparameters
from edgecomp.checkpoint.safetensors_file import CheckpointError, TensorEntry
from edgecomp.checkpoint.tokenizer import TokenizerError, tokenizer_keys

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "TensorEntry",
    "TokenizerError",
    "context_length",
    "hyperparameters",
    "open_checkpoint",
    "tokenizer_keys",
]
