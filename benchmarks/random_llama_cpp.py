"""Llama models of random weights as llama.cpp's files, with the types that llama-quantize chooses.

Blocks are random bytes, their float16 scales such that weights have the root mean square
1 / sqrt(d_in). Types are those of src/llama-quant.cpp of the release in build_llama_cpp.py, for a
Llama with at least four query heads to a key head, without an importance matrix. Of types that have
several mixes it is the smaller and faster one, "_S".
"""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize
from numpy.typing import NDArray
from random_llama import SEED, Shape

Type = GGMLQuantizationType

# What a block's bytes are multiplied with: offset of a float16, and its size beside the first one.
# Minima (the second one) are such that weights are about 0 on average.
SCALES: dict[Type, tuple[tuple[int, float], ...]] = {
    Type.Q4_0: ((0, 1.0),),
    Type.Q8_0: ((0, 1.0),),
    Type.Q2_K: ((80, 1.0), (82, 1.5)),
    Type.Q3_K: ((108, 1.0),),
    Type.Q4_K: ((0, 1.0), (2, 7.5)),
    Type.Q5_K: ((0, 1.0), (2, 15.5)),
    Type.Q6_K: ((208, 1.0),),
    Type.IQ2_XXS: ((0, 1.0),),
    Type.IQ1_S: ((0, 1.0),),
}


@dataclass(frozen=True)
class Mix:
    """A file type of llama-quantize: the type of every kind of matrix."""

    file_type: LlamaFileType
    body: Type
    head: Type
    embedding: Type
    v: Type  # attn_v
    first_v: Type  # attn_v of the first four layers
    attention_output: Type
    first_down: Type  # ffn_down of the first eighth of the layers

    def type_of(self, name: str, n_layers: int) -> Type:
        """The type of a matrix by llama.cpp's name."""
        if name in ("output.weight", "token_embd.weight"):
            return self.head if name == "output.weight" else self.embedding
        _, layer, kind, _ = name.split(".")
        if kind == "attn_v":
            return self.first_v if int(layer) < 4 else self.v
        if kind == "ffn_down" and int(layer) < n_layers // 8:
            return self.first_down
        return self.attention_output if kind == "attn_output" else self.body


def mix(
    file_type: LlamaFileType, body: Type, head: Type, embedding: Type, bumps: tuple[Type, ...] = ()
) -> Mix:
    """The file type; `bumps` are the last four fields of Mix, the body's type if there are none."""
    v, first_v, output, down = bumps or (body,) * 4
    return Mix(file_type, body, head, embedding, v, first_v, output, down)


# By the name that rows have.
MIXES = {
    "Q4_0": mix(LlamaFileType.MOSTLY_Q4_0, Type.Q4_0, Type.Q6_K, Type.Q4_0),
    "Q4_K": mix(
        LlamaFileType.MOSTLY_Q4_K_S, Type.Q4_K, Type.Q6_K, Type.Q4_K,
        (Type.Q4_K, Type.Q5_K, Type.Q4_K, Type.Q5_K),
    ),
    "Q2_K": mix(
        LlamaFileType.MOSTLY_Q2_K_S, Type.Q2_K, Type.Q6_K, Type.Q2_K,
        (Type.Q4_K, Type.Q4_K, Type.Q2_K, Type.Q4_K),
    ),
    "IQ2_XXS": mix(
        LlamaFileType.MOSTLY_IQ2_XXS, Type.IQ2_XXS, Type.Q5_K, Type.Q2_K,
        (Type.Q4_K, Type.Q4_K, Type.IQ2_XXS, Type.Q2_K),
    ),
    "IQ1_S": mix(
        LlamaFileType.MOSTLY_IQ1_S, Type.IQ1_S, Type.Q5_K, Type.Q2_K,
        (Type.Q4_K, Type.Q4_K, Type.IQ2_XXS, Type.Q2_K),
    ),
    "Q8_0": mix(LlamaFileType.MOSTLY_Q8_0, Type.Q8_0, Type.Q8_0, Type.Q8_0),
}  # fmt: skip

NAMES = {
    "model.embed_tokens": "token_embd",
    "lm_head": "output",
    "model.norm": "output_norm",
    "model.layers.": "blk.",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def file_name(name: str) -> str:
    """llama.cpp's name of a tensor of transformers."""
    for theirs, own in NAMES.items():
        name = name.replace(theirs, own)
    return name


@lru_cache(maxsize=len(SCALES))
def unit_rms(kind: Type) -> float:
    """The root mean square of a type's weights when the first scale of random blocks is 1."""
    return float(np.sqrt(np.square(dequantize(blocks(kind, 4096, 1.0, SEED), kind)).mean()))


def blocks(kind: Type, count: int, scale: float, seed: int) -> NDArray[np.uint8]:
    """Random blocks, uint8 (count, bytes of a block)."""
    n_bytes = GGML_QUANT_SIZES[kind][1]
    rng = np.random.default_rng([SEED, seed])
    made = np.frombuffer(bytearray(rng.bytes(count * n_bytes)), np.uint8).reshape(count, n_bytes)
    for at, factor in SCALES[kind]:
        made[:, at : at + 2] = np.array([scale * factor], "<f2").view(np.uint8)
    return made


def random_matrix(name: str, sides: tuple[int, ...], kind: Type) -> NDArray[np.uint8]:
    """A matrix in a type, uint8 (rows, bytes of a row); the same for a name always."""
    rows, columns = sides
    count = math.prod(sides) // GGML_QUANT_SIZES[kind][0]
    scale = 1 / (math.sqrt(columns) * unit_rms(kind))
    return blocks(kind, count, scale, zlib.crc32(name.encode())).reshape(rows, -1)


def write_random_gguf(path: Path, name: str, shape: Shape, mix: Mix) -> None:
    """Writes the model as llama.cpp reads it, without a tokenizer, one tensor in memory at a time.

    `path` appears when it is complete.
    """
    partial = path.with_name(f"{path.name}.partial")
    writer = GGUFWriter(partial, "llama")
    writer.add_name(name)
    writer.add_file_type(mix.file_type)
    writer.add_vocab_size(shape.n_vocab)
    writer.add_context_length(2048)
    writer.add_embedding_length(shape.d_model)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.d_ff)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.d_head)
    writer.add_tokenizer_model("none")
    tensors = [(file_name(tensor), sides) for tensor, sides in shape.tensors()]
    for tensor, sides in tensors:
        if len(sides) < 2:
            writer.add_tensor_info(tensor, sides, np.dtype("<f4"), 4 * sides[0])
            continue
        kind = mix.type_of(tensor, shape.n_layers)
        weights, n_bytes = GGML_QUANT_SIZES[kind]
        row_bytes = sides[1] // weights * n_bytes
        writer.add_tensor_info(
            tensor, (sides[0], row_bytes), np.dtype("u1"), sides[0] * row_bytes, raw_dtype=kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, sides in tensors:
        if len(sides) < 2:
            writer.write_tensor_data(np.ones(sides, "<f4"))
        else:
            kind = mix.type_of(tensor, shape.n_layers)
            writer.write_tensor_data(random_matrix(tensor, sides, kind))
    writer.close()
    os.replace(partial, path)
