"""What a published checkpoint calls the tensors of a transformers network."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

__all__ = ["is_expert", "network_names"]


def is_expert(name: str) -> bool:
    """Whether a tensor of that name is of experts, one or all, of which a router picks some."""
    return re.search(r"\.experts\.|_moe\.(input|output)_linear\.", name) is not None


def network_names(network: Any) -> Callable[[str], str]:
    """A function from a checkpoint's tensor name to the name in the network.

    Names are taken as they are where the network has them, else renamed as transformers does when
    it loads the model (`embed_out` of GPT-NeoX is `lm_head`), or put under the base model's prefix,
    which GPT-2's checkpoint leaves out. A name that has no place comes back unchanged.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming

    targets = network.state_dict()
    prefix = f"{network.base_model_prefix}."
    renamings = [
        renaming
        for renaming in get_model_conversion_mapping(network)
        if isinstance(renaming, WeightRenaming)
    ]

    def find(stored: str) -> str:
        renamed = stored
        if stored not in targets:
            for renaming in renamings:
                renamed = renaming.rename_source_key(renamed)[0]
        candidates = (stored, renamed, prefix + renamed)
        return next((name for name in candidates if name in targets), stored)

    return find
