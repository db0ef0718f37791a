"""ONNX Runtime's MatMulNBits as a peer: 4-bit weights in groups of 32, where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

BITS, GROUP = 4, 32


def is_installed() -> bool:
    """Whether onnxruntime, and onnx to write the model with, can be imported."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnxruntime", "onnx"))


def multiplier(
    rows: int, columns: int, threads: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A function of x (n_tokens, columns) that returns the products with random weights."""
    onnx, helper = import_module("onnx"), import_module("onnx.helper")
    runtime = import_module("onnxruntime")
    rng = np.random.default_rng(rows)
    groups = columns // GROUP
    codes = rng.integers(0, 256, (rows, groups, GROUP * BITS // 8), np.uint8)
    scales = rng.uniform(0.01, 0.02, rows * groups).astype(np.float32)
    node = helper.make_node(
        "MatMulNBits", ["x", "codes", "scales"], ["y"], domain="com.microsoft",
        K=columns, N=rows, bits=BITS, block_size=GROUP,
    )  # fmt: skip
    real = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", real, ["tokens", columns])],
        [helper.make_tensor_value_info("y", real, ["tokens", rows])],
        [
            onnx.numpy_helper.from_array(codes, "codes"),
            onnx.numpy_helper.from_array(scales, "scales"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: np.asarray(session.run(None, {"x": x})[0], np.float32)
