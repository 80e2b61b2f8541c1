"""STIR and what is built on it, of any two models of timm, without a job file or a lake.

    import timm
    import torch

    import stir_ray

    pretrained = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=16, depth=3)
    finetuned = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=16, depth=3)
    images = torch.rand(8, 3, 32, 32)

    inverted = stir_ray.invert(pretrained, images=images)  # once, for all that follows
    shared = stir_ray.stir(inverted_by=inverted, seen_by=finetuned)
    lost = stir_ray.forgetting(pretrained=inverted, finetuned=finetuned)
    moved = stir_ray.flow(pretrained=inverted, finetuned=finetuned)
    disputed = stir_ray.controversial(
        same_to=pretrained, different_to=finetuned, images=images[:2], layer=3
    )

    shared["stir"].sel(reference_layer=3, target_layer=3)
    lost.sel(target_layer=3)

Numbers are those of a job with the same weights, images and settings. Models may differ in depth
and width; a difference such as forgetting is of the layers that both have. Layers are numbered from
1. Nothing that is given is changed: models are copied first.
"""

from stir_ray.api.arguments import ConvergenceWarning
from stir_ray.api.controversies import controversial
from stir_ray.api.inverting import Inversions, invert
from stir_ray.api.measures import cka_divergence, flow, forgetting, learning, stir
from stir_ray.api.models import frozen

__all__ = [
    "ConvergenceWarning",
    "Inversions",
    "cka_divergence",
    "controversial",
    "flow",
    "forgetting",
    "frozen",
    "invert",
    "learning",
    "stir",
]
