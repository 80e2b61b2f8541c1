"""What a worker needs to know besides its tasks."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker needs to know besides its tasks; small, and safe to pickle.

    Attributes:
        lake: folder or URL.
        job: name, for provenance.
        batch_size: images per forward pass; None for all at once.
        storage_retry_s: for how long a store in trouble is asked again.
        cache_bytes: on each machine's disk, of copies of a lake far away and of images that it has
            corrupted; 0 for none.
        gpu_share: of a GPU that each worker has, where there are GPUs; 0 for the CPU.
        datasets: folder or URL of the lake whose datasets are read; empty for the same.
    """

    lake: str
    job: str
    batch_size: int | None
    storage_retry_s: float
    cache_bytes: int = 0
    gpu_share: float = 1.0
    datasets: str = ""
