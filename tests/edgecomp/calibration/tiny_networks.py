"""Tiny networks of several architectures with random weights, saved as transformers saves them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ARCHITECTURES", "MIXTURES", "OTHERS", "save_tiny"]

SMALL = {"vocab_size": 48, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1,
         "eos_token_id": 2}  # fmt: skip
LLAMA = {**SMALL, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
         "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
ARCHITECTURES: dict[str, dict[str, object]] = {
    "llama": {**LLAMA, "tie_word_embeddings": False},
    "qwen2": {**LLAMA, "tie_word_embeddings": True, "use_sliding_window": True,
              "sliding_window": 4, "max_window_layers": 1},
    "gpt2": {"vocab_size": 48, "n_positions": 32, "n_embd": 16, "n_layer": 3, "n_head": 4},
    "opt": {**SMALL, "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 3,
            "num_attention_heads": 4, "word_embed_proj_dim": 8},
    "gpt_neox": {**SMALL, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
                 "num_attention_heads": 4},
    "phi": {**SMALL, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
            "num_attention_heads": 4},
    "gemma3_text": {**LLAMA, "head_dim": 4, "sliding_window": 4,
                    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "bloom": {"vocab_size": 48, "hidden_size": 16, "n_layer": 3, "n_head": 4},
}  # fmt: skip
# Of experts: one in a tensor (mixtral, qwen2_moe), or all of them (gpt_oss, granitemoe).
MIXTURES: dict[str, dict[str, object]] = {
    "mixtral": {**LLAMA, "num_local_experts": 4},
    "qwen2_moe": {**LLAMA, "num_experts": 4, "moe_intermediate_size": 8,
                  "shared_expert_intermediate_size": 8},
    "gpt_oss": {**LLAMA, "num_local_experts": 4, "head_dim": 4,
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "granitemoe": {**LLAMA, "num_local_experts": 4},
}  # fmt: skip
# Which transformers has advice on: to set is_decoder, to install kernels.
OTHERS: dict[str, dict[str, object]] = {
    "bert": {**SMALL, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
             "num_attention_heads": 4},
    "mamba": {"vocab_size": 48, "hidden_size": 16, "num_hidden_layers": 3, "state_size": 4},
}  # fmt: skip


def save_tiny(architecture: str, folder: Path, seed: int = 0) -> Path:
    """Writes a tiny random network's folder and returns it."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    config = CONFIG_MAPPING[architecture](**(ARCHITECTURES | MIXTURES | OTHERS)[architecture])
    torch.manual_seed(seed)
    network = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in network.parameters():  # norms and biases are 1 and 0 when made
            parameter.add_(torch.randn(parameter.shape) * 0.2)
    network.save_pretrained(folder)
    return folder
