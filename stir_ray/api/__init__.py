"""STIR and the metrics built on it for any two timm models, without a job file or a lake.

    import timm
    import torch

    import stir_ray

    pretrained = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=16, depth=3)
    finetuned = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=16, depth=3)
    images = torch.rand(8, 3, 32, 32)

    inversions = stir_ray.invert(pretrained, images=images)  # once, for all that follows
    shared = inversions.stir(finetuned)
    lost = inversions.forgetting(finetuned)
    moved = inversions.flow(finetuned)

    shared["stir"].sel(reference_layer=3, target_layer=3)
    lost.sel(target_layer=3)

The numbers equal those of a job with the same weights, images and settings. The two models may
differ in depth and width; differences such as forgetting cover the layers that both have. Layers
are numbered from 1. Models are copied first and never changed.
"""

from stir_ray.api.inputs import freeze
from stir_ray.api.inversions import ConvergenceWarning, Inversions, invert

__all__ = ["ConvergenceWarning", "Inversions", "freeze", "invert"]
