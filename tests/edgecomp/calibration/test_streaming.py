"""A network run block by block gives what the whole network gives, with one block in memory."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgecomp.calibration import StreamedNetwork, open_streamed
from edgecomp.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from edgecomp.evaluation.language_model import load_original
from tests.edgecomp.calibration.tiny_networks import ARCHITECTURES, save_tiny


def run_all(network: StreamedNetwork, tokens: torch.Tensor) -> torch.Tensor:
    """The last block's output."""
    hidden = network.embed(tokens)
    for i in range(network.n_blocks):
        hidden = network.run_block(i, network.load_block(i), hidden)
    return hidden


def logits_of(checkpoint: Checkpoint) -> torch.Tensor:
    """The logits of the first four tokens."""
    network = open_streamed(checkpoint)
    return network.finish(run_all(network, torch.arange(4)[None]))


def some_tokens(network: StreamedNetwork, n: int, length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(3, network.vocab_size, (n, length), generator=generator)


@pytest.fixture
def llama(tmp_path: Path) -> StreamedNetwork:
    """A tiny Llama whose head is not tied."""
    return open_streamed(open_checkpoint(str(save_tiny("llama", tmp_path / "llama"))))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of transformers, on ids of special tokens
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_those_of_the_whole_network(architecture: str, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(save_tiny(architecture, tmp_path / "m")))
    network = open_streamed(checkpoint)
    tokens = some_tokens(network, 3, 20)
    with torch.no_grad():
        logits = network.finish(run_all(network, tokens))
    expected = load_original(checkpoint).logits(tokens.numpy())
    assert logits.numpy().tobytes() == expected.numpy().tobytes()
    assert len({name for i in range(3) for name in network.block_tensors(i).values()}) == sum(
        len(network.block_tensors(i)) for i in range(3)
    )


def test_bookworm(bookworm: Path) -> None:
    checkpoint = open_checkpoint(str(bookworm))
    network = open_streamed(checkpoint)
    assert (network.n_blocks, network.context, network.vocab_size) == (6, 512, 8192)
    tokens = some_tokens(network, 2, 64)
    with torch.no_grad():
        logits = network.finish(run_all(network, tokens))
    assert torch.equal(logits, load_original(checkpoint).logits(tokens.numpy()))


def test_gradients_are_those_of_the_whole_network(llama: StreamedNetwork) -> None:
    tokens = some_tokens(llama, 2, 8)
    hidden = llama.embed(tokens)
    trained = None
    for i in range(llama.n_blocks):
        block = llama.load_block(i)
        assert not any(parameter.requires_grad for parameter in block.parameters())
        if i == 1:
            trained = block.get_parameter("mlp.up_proj.weight").requires_grad_()
        hidden = llama.run_block(i, block, hidden)
    assert trained is not None
    llama.finish(hidden).square().mean().backward()
    whole = load_original(llama.checkpoint).network
    whole(input_ids=tokens, use_cache=False).logits.square().mean().backward()
    expected = whole.model.layers[1].mlp.up_proj.weight.grad
    assert torch.equal(trained.grad, expected)
    assert expected.abs().max() > 0


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("llama", [("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"),
                   ("down_proj",)]),
        ("gpt2", [("c_attn",), ("c_proj",), ("c_fc",), ("c_proj",)]),
        ("gpt_neox", [("query_key_value",), ("dense",), ("dense_h_to_4h",), ("dense_4h_to_h",)]),
        ("phi", [("q_proj", "k_proj", "v_proj", "fc1"), ("dense",), ("fc2",)]),
    ],
)  # fmt: skip
def test_sites(architecture: str, expected: list[tuple[str, ...]], tmp_path: Path) -> None:
    """Linears that read the same tensor share a site, whichever module they are in."""
    checkpoint = open_checkpoint(str(save_tiny(architecture, tmp_path / "m")))
    network = open_streamed(checkpoint)
    shapes = {entry.name: entry.shape for entry in checkpoint.tensors}
    for i in range(network.n_blocks):
        sites = network.linear_sites(i)
        assert [tuple(n.split(".")[-2] for n in site.tensors) for site in sites] == expected
        for site in sites:
            assert site.transposed == (architecture == "gpt2")
            assert {shapes[name][not site.transposed] for name in site.tensors} == {site.columns}
            assert set(site.tensors) <= set(network.block_tensors(i).values())


@pytest.mark.parametrize(
    ("architecture", "tensor", "columns"),
    [
        ("llama", "lm_head.weight", 16),
        ("qwen2", "model.embed_tokens.weight", 16),
        ("gpt_neox", "embed_out.weight", 16),
        ("opt", "model.decoder.embed_tokens.weight", 8),
    ],
)
def test_head(architecture: str, tensor: str, columns: int, tmp_path: Path) -> None:
    network = open_streamed(open_checkpoint(str(save_tiny(architecture, tmp_path / "m"))))
    site = network.head_site()
    assert (site.tensors, site.columns) == ((tensor,), columns)
    with torch.no_grad():
        hidden = run_all(network, some_tokens(network, 2, 6))
        head_input = network.head_input(hidden)
        assert head_input.shape == (2, 6, columns)
        logits = network.finish(hidden)
    source = network.checkpoint.source(tensor)
    weight = source.read(0, int(np.prod(source.shape))).reshape(source.shape)
    assert torch.equal(nn.functional.linear(head_input, torch.from_numpy(weight)), logits)
    assert network.head_site() == site  # also while its weight is in memory


def live_weights() -> int:
    """Elements of all tensors that own memory now, counted once for each memory."""
    gc.collect()
    memories = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor) and thing.device.type != "meta":
            storage = thing.untyped_storage()
            memories[storage.data_ptr()] = storage.nbytes() // 4
    return sum(memories.values())


@pytest.mark.slow
def test_one_block_in_memory(llama: StreamedNetwork) -> None:
    """Nothing of a block stays, and of the embeddings and the head nothing until they are used."""
    before = live_weights()
    one_block = sum(parameter.numel() for parameter in llama.skeleton.blocks[0].parameters())
    tokens = some_tokens(llama, 1, 4)
    with torch.no_grad():
        hidden = llama.embed(tokens)
        small = live_weights() - before  # the hidden state, and what blocks are called with
        assert small < one_block // 4
        for i in range(llama.n_blocks):
            block = llama.load_block(i)
            hidden = llama.run_block(i, block, hidden)
            llama.linear_sites(i)
            llama.head_input(hidden)
            assert one_block <= live_weights() - before < one_block + one_block // 4
            del block
        assert live_weights() - before < one_block // 4
        llama.finish(hidden)
        head = 48 * 16
        assert head <= live_weights() - before < head + one_block // 4
        llama.release()
    assert live_weights() - before < one_block // 4


def test_blank_blocks_take_no_memory(llama: StreamedNetwork) -> None:
    block = llama.blank_block(0)
    assert {p.untyped_storage().nbytes() for p in block.parameters()} == {4}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "tensor",
    ["model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight", "model.norm.weight"],
)
def test_weights_that_are_not_finite(
    value: float, tensor: str, tmp_path: Path, tensors: dict[str, np.ndarray[tuple[int, ...]]],
    model_writer: Callable[..., Path],
) -> None:  # fmt: skip
    tensors[tensor].flat[5] = value
    checkpoint = open_checkpoint(str(model_writer(tmp_path / "bad", tensors)))
    with pytest.raises(CheckpointError, match=rf"tensor {tensor}: a weight is (nan|inf)"):
        logits_of(checkpoint)


def test_checkpoints_that_do_not_fit(
    tiny: Path, tmp_path: Path, tensors: dict[str, np.ndarray[tuple[int, ...]]],
    model_writer: Callable[..., Path],
) -> None:  # fmt: skip
    def refused(folder: Path) -> str:
        with pytest.raises(CheckpointError) as caught:
            open_streamed(open_checkpoint(str(folder)))
        return str(caught.value)

    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**9}))
    assert "1000000000 blocks" in refused(tiny)
    (tiny / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    assert "has no place in the network" in refused(tiny)
    (tiny / "config.json").write_text(json.dumps(config | {"intermediate_size": 8}))
    assert "mlp.down_proj.weight is (16, 24), not (16, 8)" in refused(tiny)
    (tiny / "config.json").write_text(json.dumps(config | {"model_type": "resnet"}))
    assert "transformers cannot load it as a causal language model" in refused(tiny)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    missing = model_writer(tmp_path / "missing", tensors)
    assert "tensor model.layers.1.mlp.up_proj.weight is missing" in refused(missing)
