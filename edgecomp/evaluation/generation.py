"""A short text continued by a model."""

from __future__ import annotations

from pathlib import Path

from edgecomp.evaluation.language_model import LanguageModel, open_tokenizer

__all__ = ["continue_text"]


def continue_text(
    model: LanguageModel, tokenizer: Path, prompt: str, new_tokens: int, seed: int | None = None
) -> str:
    """The prompt's continuation: the likeliest token each time, or drawn with `seed`.

    `tokenizer` is the model's tokenizer.json. The same seed draws the same text.
    Raises CheckpointError when it cannot be read.
    """
    import torch

    rules = open_tokenizer(tokenizer)
    ids = torch.tensor([rules.encode(prompt).ids])
    sampling = {"do_sample": False} if seed is None else {"do_sample": True, "top_p": 0.9}
    with torch.inference_mode(), torch.random.fork_rng():
        if seed is not None:
            torch.manual_seed(seed)
        output = model.network.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new_tokens,
            repetition_penalty=1.2,
            **sampling,
        )
    return rules.decode(output[0, ids.shape[1] :].tolist())
