"""The weights of transformers' `XCLIPModel` under the official X-CLIP names; the mathematics are the same."""

import re

import torch
from torch import Tensor

# transformers' name -> official name, tried in order on every key.
_RENAMED = (
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layernorm\.", "visual.ln_pre."),
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^text_model\.embeddings\.token_embedding\.weight$", "token_embedding.weight"),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"^text_projection\.weight$", "text_projection"),
    (r"^mit\.encoder\.layers\.", "mit.resblocks."),
    (r"^mit\.position_embedding$", "mit.positional_embedding"),
    (r"^prompts_visual_layernorm\.", "prompts_visual_ln."),
    (r"^prompts_visual_projection$", "prompts_visual_proj"),
    (r"^prompts_generator\.layernorm\.", "prompts_generator.norm."),
    (r"\.self_attn\.", ".attn."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"(resblocks\.\d+\.mlp)\.fc1\.", r"\1.c_fc."),
    (r"(resblocks\.\d+\.mlp)\.fc2\.", r"\1.c_proj."),
)
_TRANSPOSED = ("visual.proj", "text_projection")
_THIRD = re.compile(r"^(.*(?:\.attn|\.message_attn))\.([qkv])_proj\.(weight|bias)$")
_NO_WEIGHT = re.compile(r"\.position_ids$")  # a buffer that counts 0, 1, 2, ...


def official_names(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Rename the state dict of an `XCLIPModel`; query, key and value projections become one tensor.

    Returns: the state dict under official names, and {ignored key: reason}.
    """
    renamed, thirds, ignored = {}, {}, {}
    for key, tensor in state.items():
        if _NO_WEIGHT.search(key):
            ignored[key] = "positions 0, 1, 2, ...: no weight"
            continue
        name = key
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        if match := _THIRD.match(name):
            attention, part, kind = match.groups()
            thirds.setdefault(f"{attention}.in_proj_{kind}", {})[part] = tensor
        else:
            renamed[name] = tensor.T if name in _TRANSPOSED else tensor
    renamed |= {name: torch.cat([parts[part] for part in "qkv"]) for name, parts in thirds.items()}
    return renamed, ignored
