"""A language model's work, from the tensors that it is stored as."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from devices.work import Attention, LanguageModel, Layer, Loop, Product
from edgecomp.latency.stored import StoredModel, StoredTensor
from runtime_ops.formats import ColumnsFormat, CrvqFormat, TrellisFormat, UniformFormat
from runtime_ops.formats.columns import PlainFormat
from runtime_ops.formats.part import matrix_sides
from runtime_ops.formats.winding import WindingFormat
from runtime_ops.kernel_names import kernel_of, kernel_weights

__all__ = ["ARCHITECTURES", "LatencyError", "language_model"]

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")  # that the runner runs
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
# Matrices of a layer that the runner multiplies with one input, as it names the work.
TOGETHER = (
    ("attention projections", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
    ("attention projections", ("self_attn.o_proj",)),
    ("feed forward", ("mlp.gate_proj", "mlp.up_proj")),
    ("feed forward", ("mlp.down_proj",)),
)
HEAD_NORMS = ("self_attn.q_norm", "self_attn.k_norm")


class LatencyError(ValueError):
    """A model whose latency cannot be predicted; `hint` says what may help."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def language_model(model: StoredModel) -> LanguageModel:
    """The work of a model of the Llama family; LatencyError when it is none, or lacks tensors."""
    architecture = model.keys.get("architecture")
    if architecture not in ARCHITECTURES:
        raise LatencyError(
            f"{model.name}: architecture {architecture}, expected {', '.join(ARCHITECTURES)}",
            "for other networks give the model's folder and --batch",
        )
    d_model, n_heads = integer(model, "embedding_length"), integer(model, "attention.head_count")
    d_head = integer(model, "attention.key_length", d_model // n_heads)
    attention = Attention(n_heads, integer(model, "attention.head_count_kv", n_heads), d_head)
    layers = tuple(layer(model, i, attention) for i in range(integer(model, "block_count")))
    embedding = tensor(model, EMBEDDING)
    head = model.tensors.get(HEAD, embedding)
    return LanguageModel(
        name=model.name,
        layers=layers,
        attention=attention,
        d_model=d_model,
        d_ff=integer(model, "feed_forward_length"),
        n_vocab=embedding.shape[0],
        head=loops("head", [head])[0],
        file_bytes=model.file_bytes,
    )


def integer(model: StoredModel, key: str, default: int = 0) -> int:
    """A whole number above 0 among the model's keys; LatencyError without it or a default."""
    value = model.keys.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise LatencyError(f"{model.name}: {key} is {value!r}, expected 1 or more", "see the model")
    return value


def tensor(model: StoredModel, name: str) -> StoredTensor:
    """The tensor of a name; LatencyError when there is none."""
    found = model.tensors.get(name)
    if found is None or len(found.shape) != 2:
        raise LatencyError(
            f"{model.name}: no matrix {name}", "the model is built otherwise than Llamas are"
        )
    return found


def layer(model: StoredModel, i: int, attention: Attention) -> Layer:
    """The i-th layer."""
    prefix = f"model.layers.{i}."
    found: list[Loop] = []
    for part, stems in TOGETHER:
        found += loops(part, [tensor(model, f"{prefix}{stem}.weight") for stem in stems])
    norms = [stem for stem in HEAD_NORMS if f"{prefix}{stem}.weight" in model.tensors]
    heads = (attention.n_heads, attention.n_kv_heads)
    numbers = sum(n * attention.d_head for n, stem in zip(heads, HEAD_NORMS, strict=True)
                  if stem in norms)  # fmt: skip
    return Layer(tuple(found), numbers)


def loops(part: str, tensors: Sequence[StoredTensor]) -> list[Loop]:
    """Matrices of one input in as many loops as there are ways to prepare it."""
    ways: dict[object, list[StoredTensor]] = {}
    for each in tensors:
        ways.setdefault(preparation(each), []).append(each)
    return [loop(part, shared) for shared in ways.values()]


def preparation(stored: StoredTensor) -> object:
    """What must agree for two matrices to share an input: ec_linear_shares_input."""
    fmt = stored.format
    order = fmt.permutation if isinstance(fmt, ColumnsFormat) else None
    n_critical = fmt.n_critical if isinstance(fmt, ColumnsFormat) else 0
    rotations = tuple(
        (each.rotation, each.seed) if isinstance(each, TrellisFormat) else (0, 0)
        for each, _ in stored.matrices()
    )
    return None if order is None else order.data, n_critical, rotations


def loop(part: str, tensors: Sequence[StoredTensor]) -> Loop:
    """Matrices that share an input."""
    made_of = tensors[0].matrices()
    integers = all(is_integer(fmt) for each in tensors for fmt, _ in each.matrices())
    rotated = sum(
        matrix_sides(shape)[1]
        for fmt, shape in made_of
        if isinstance(fmt, TrellisFormat) and fmt.rotation
    )
    columns = matrix_sides(tensors[0].shape)[1]
    products = tuple(product for each in tensors for product in products_of(each))
    return Loop(part, products, columns if integers else 0, rotated)


def products_of(stored: StoredTensor) -> Iterable[Product]:
    """The products of a tensor's matrices."""
    for fmt, shape in stored.matrices():
        rows, columns = matrix_sides(shape)
        n_bytes = sum(spec.size * spec.dtype.itemsize for spec in fmt.part_specs(shape))
        weights = kernel_weights(fmt, rows, columns)
        yield Product(stored.name, kernel_of(fmt, rows), weights, n_bytes)


def is_integer(fmt: PlainFormat) -> bool:
    """Whether products take int8 activations: ec_tensor_is_integer."""
    if isinstance(fmt, WindingFormat):
        return not fmt.centre and fmt.classes == 1
    if isinstance(fmt, CrvqFormat):
        return fmt.codebooks.dtype == "|i1"
    return isinstance(fmt, TrellisFormat | UniformFormat)
