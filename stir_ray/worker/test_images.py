"""The images that models are tested on, wherever their dataset lies."""

from stir_ray.datasets.corruptions.test_set import CorruptedTestSet, held_out
from stir_ray.job import Cifar10, Cifar100, Data, InLake
from stir_ray.lake.array_cache import Made
from stir_ray.lake.parquet import Lake
from stir_ray.plan.robustness import CorruptedTest
from stir_ray.worker.dataset_index import imported_from
from stir_ray.worker.lake_dataset import open_collection

_CIFAR = 32
"""Height and width in pixels of the images that the settings of the corruptions are made for."""


def open_held_out(test: CorruptedTest, lake: Lake, *, cache_bytes: int = 0) -> CorruptedTestSet:
    """The images of a test; errors as `held_out` and `open_collection`.

    CIFAR is corrupted at its own 32 x 32 pixels and enlarged afterwards, as the published files
    are; all else at the size at which models see it.

    Args:
        test: of which images, under what.
        lake: that has them, if they are in one.
        cache_bytes: of what this machine keeps on its disk, so that its workers corrupt images
            once; 0 for none.
    """
    shown = open_collection(test.data, "test", lake)
    own = test.data.model_copy(update={"size": _CIFAR}) if _is_cifar(test.data, lake) else test.data
    raw = shown if own == test.data else open_collection(own, "test", lake)
    return held_out(shown, raw, test.asked, Made(cache_bytes) if cache_bytes else None)


def _is_cifar(data: Data, lake: Lake) -> bool:
    if isinstance(data, InLake):
        return imported_from(data.name, lake) in ("cifar10", "cifar100")
    return isinstance(data, Cifar10 | Cifar100)
