"""The network of a checkpoint with one transformer block in memory at a time.

The network is built without weights and run as transformers wrote it, with its blocks replaced:
what it does before the first block, what it gives every block (masks, position embeddings) and what
it does after the last one are its own. Weights outside of the blocks are read when a module needs
them, of embeddings only the rows that are looked up.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from edgecomp.calibration.outside import OutsideWeights, outside_weights
from edgecomp.calibration.sites import Site, find_linears, is_transposed, watch_linears
from edgecomp.calibration.skeleton import Skeleton, make_skeleton, refused
from edgecomp.calibration.weights import read_tensor
from edgecomp.checkpoint import Checkpoint, CheckpointError, context_length

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["StreamedNetwork", "open_streamed"]

KEPT_SHAPES = 4  # input shapes whose block calls are remembered
PROBE_TOKENS = 2


class PassStoppedError(Exception):
    """Ends a forward pass that has shown what was wanted."""


@dataclass(frozen=True)
class BlockCall:
    """What the network calls a block with, the hidden state left out (None in its place)."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self, block: nn.Module, hidden: torch.Tensor) -> Any:
        """What the block returns for a hidden state."""
        if self.args:
            return block(hidden, *self.args[1:], **self.kwargs)
        return block(**(self.kwargs | {"hidden_states": hidden}))


@dataclass
class StreamedNetwork:
    """A causal language model that is run block by block.

    Its methods work on tokens int64 (n, length) and hidden states float32 (n, length, d), and give
    what the whole network gives. Nothing of a block is kept here: its memory is the caller's.
    """

    checkpoint: Checkpoint
    skeleton: Skeleton
    device: torch.device
    outside: OutsideWeights
    hidden_size: int = 0  # columns of a hidden state
    returns_tuple: bool = False  # whether the network's blocks return (hidden, ...)
    calls: dict[tuple[int, int], list[BlockCall]] = field(default_factory=dict)

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return len(self.skeleton.blocks)

    @property
    def context(self) -> int | None:
        """The longest input in tokens that the config names."""
        return context_length(self.skeleton.network.config.get_text_config().to_dict())

    @property
    def vocab_size(self) -> int:
        """Number of tokens that have an embedding."""
        return int(self.skeleton.network.get_input_embeddings().weight.shape[0])

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """The first block's input for tokens int64 (n, length): float32 (n, length, d)."""
        import torch

        reached: list[torch.Tensor] = []

        def stop(i: int, call: BlockCall, hidden: torch.Tensor) -> torch.Tensor:
            reached.append(hidden)
            raise PassStoppedError

        with torch.no_grad(), contextlib.suppress(PassStoppedError):
            self.walk(tokens, stop)
        return reached[0]

    def load_block(self, i: int) -> nn.Module:
        """Block i with its float32 weights on the device; they require no gradient.

        Frees the weights outside of the blocks. Raises CheckpointError for a weight that is not
        finite.
        """
        self.outside.release()
        block = copy.deepcopy(self.skeleton.blocks[i])
        for name, stored in self.block_tensors(i).items():
            put_tensor(block, name, read_tensor(self.checkpoint, stored, self.device))
        return block

    def run_block(self, i: int, block: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """What block i makes of a hidden state, float32 (n, length, d).

        `block` is from load_block(i), or like it; gradients flow when they are enabled.
        """
        output = self.block_calls(hidden.shape[0], hidden.shape[1])[i].run(block, hidden)
        result: torch.Tensor = output[0] if self.returns_tuple else output
        return result

    def finish(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits float32 (n, length, vocab) for the last block's output.

        The weights of the norm and the head stay in memory until load_block or release.
        """
        tokens = self.blank_tokens(hidden.shape[0], hidden.shape[1])
        logits: torch.Tensor = self.walk(tokens, after_blocks(hidden)).logits.float()
        return logits

    def head_input(self, hidden: torch.Tensor) -> torch.Tensor:
        """The input of the head for the last block's output: float32 (n, length, columns)."""
        reached: list[torch.Tensor] = []

        def stop(module: nn.Module, args: tuple[Any, ...]) -> None:
            reached.append(args[0])
            raise PassStoppedError

        tokens = self.blank_tokens(hidden.shape[0], hidden.shape[1])
        # Before the hook that reads the head's weight.
        hook = self.head().register_forward_pre_hook(stop, prepend=True)
        try:
            with contextlib.suppress(PassStoppedError):
                self.walk(tokens, after_blocks(hidden))
        finally:
            hook.remove()
        return reached[0]

    def release(self) -> None:
        """Frees the weights outside of the blocks; they are read again when they are needed."""
        self.outside.release()

    def block_tensors(self, i: int) -> dict[str, str]:
        """The checkpoint's name of every tensor of block i, by its name in the block."""
        prefix = f"{self.skeleton.blocks_path}.{i}."
        return {
            name.removeprefix(prefix): stored
            for name, stored in self.skeleton.tensors.items()
            if name.startswith(prefix)
        }

    def linear_sites(self, i: int) -> tuple[Site, ...]:
        """The inputs of block i's linears in the order in which they are read.

        Found by running the block on two tokens with weights of zero, which take no memory.
        """
        import torch

        block = self.blank_block(i)
        linears = find_linears(block, self.block_tensors(i))
        sites: list[Site] = []

        def read(tensor: torch.Tensor, modules: Sequence[nn.Module]) -> None:
            names = tuple(linears[module] for module in modules)
            sites.append(Site(tensor.shape[-1], names, is_transposed(modules[0])))

        with torch.no_grad():
            hidden = self.embed(self.blank_tokens(1, PROBE_TOKENS))
            with watch_linears(linears, read):
                self.run_block(i, block, hidden)
        return tuple(sites)

    def head_site(self) -> Site:
        """The input of the head; a tied head's tensor is the embedding."""
        head = self.head()
        return Site(head.in_features, (self.outside.stored_weight(head),))

    def head(self) -> nn.Linear:
        """The network's head, without weights; CheckpointError when it is no linear."""
        from torch import nn

        head = self.skeleton.network.get_output_embeddings()
        if not isinstance(head, nn.Linear):
            raise refused(self.checkpoint.name, "the network's head is not one linear")
        return head

    def blank_tokens(self, n: int, length: int) -> torch.Tensor:
        """Tokens that mean nothing, int64 (n, length)."""
        import torch

        return torch.zeros((n, length), dtype=torch.int64)

    def blank_block(self, i: int) -> nn.Module:
        """Block i with weights of zero that share one number's memory."""
        import torch

        block = copy.deepcopy(self.skeleton.blocks[i])
        zero = torch.zeros((), device=self.device)
        for name, tensor in list(block.state_dict(keep_vars=True).items()):
            put_tensor(block, name, zero.expand(tensor.shape))
        return block

    def block_calls(self, n: int, length: int) -> list[BlockCall]:
        """What every block is called with for an input of that shape."""
        import torch

        if (n, length) not in self.calls:
            calls: list[BlockCall] = []

            def remember(i: int, call: BlockCall, hidden: torch.Tensor) -> torch.Tensor:
                calls.append(call)
                if len(calls) == self.n_blocks:
                    raise PassStoppedError
                return hidden

            with torch.no_grad(), contextlib.suppress(PassStoppedError):
                self.walk(self.blank_tokens(n, length), remember)
            while len(self.calls) >= KEPT_SHAPES:
                del self.calls[next(iter(self.calls))]
            self.calls[n, length] = calls
        return self.calls[n, length]

    def walk(
        self,
        tokens: torch.Tensor,
        visit: Callable[[int, BlockCall, torch.Tensor], torch.Tensor],
    ) -> Any:
        """The network's output when block i gives what `visit(i, its call, its input)` gives."""

        def forward(i: int, *args: Any, **kwargs: Any) -> Any:
            if args:
                hidden, call = args[0], BlockCall((None, *args[1:]), kwargs)
            else:
                hidden, call = kwargs["hidden_states"], BlockCall((), kwargs)
                kwargs["hidden_states"] = None
            output = visit(i, call, hidden)
            return (output,) if self.returns_tuple else output

        with blocks_replaced(self.skeleton.blocks, forward), self.outside.on_demand():
            return self.skeleton.network(input_ids=tokens.to(self.device), use_cache=False)


def open_streamed(checkpoint: Checkpoint, device: str = "cpu") -> StreamedNetwork:
    """The network of a checkpoint, ready to be run block by block on the device.

    Raises CheckpointError when the checkpoint does not fit its config's network or when the network
    does not call its blocks one after the other.
    """
    import torch

    skeleton = make_skeleton(checkpoint)
    place = torch.device(device)
    for module in skeleton.network.modules():
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(place)
    outside = outside_weights(checkpoint, skeleton, place)
    outside.load_buffers()
    network = StreamedNetwork(checkpoint, skeleton, place, outside)
    try:
        network.hidden_size = network.embed(network.blank_tokens(1, PROBE_TOKENS)).shape[-1]
        network.returns_tuple = returns_tuple(network)
        calls = len(network.block_calls(1, PROBE_TOKENS))
    except (CheckpointError, OSError):
        raise
    except Exception as error:  # whatever transformers' classes make of being run in parts
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise refused(checkpoint.name, f"cannot be run block by block: {reason}") from error
    if calls != network.n_blocks:
        raise refused(checkpoint.name, f"{calls} of {network.n_blocks} blocks are run")
    return network


def returns_tuple(network: StreamedNetwork) -> bool:
    """Whether the first block returns (hidden, ...) rather than a hidden state."""
    import torch

    found: list[bool] = []

    def try_block(i: int, call: BlockCall, hidden: torch.Tensor) -> torch.Tensor:
        found.append(isinstance(call.run(blank, hidden), tuple))
        raise PassStoppedError

    blank = network.blank_block(0)
    with torch.no_grad(), contextlib.suppress(PassStoppedError):
        network.walk(network.blank_tokens(1, PROBE_TOKENS), try_block)
    return found[0]


def after_blocks(hidden: torch.Tensor) -> Callable[[int, BlockCall, torch.Tensor], torch.Tensor]:
    """A visit that makes the network go on with `hidden` after its blocks."""
    return lambda i, call, before: hidden


@contextlib.contextmanager
def blocks_replaced(blocks: nn.ModuleList, forward: Callable[..., Any]) -> Iterator[None]:
    """Inside, block i runs `forward(i, ...)`; its attributes stay, which networks look at."""
    try:
        for i, block in enumerate(blocks):
            block.forward = partial(forward, i)
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)


def put_tensor(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Makes a tensor the parameter or buffer of that name, which requires no gradient."""
    from torch import nn

    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path)
    if last in owner._parameters:
        owner._parameters[last] = nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[last] = tensor
