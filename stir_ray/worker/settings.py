"""Settings shared by all workers of a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerSettings:
    """Settings shared by all workers of a run; small, and safe to pickle.

    Attributes:
        lake: folder or URL.
        job: name, for the footers of artifacts.
        batch_size: images per forward pass at most; None for as many as should fit.
        storage_retry_s: for how long requests to a store are repeated.
        cache_bytes: of copies on each machine's disk, of a remote lake and of corrupted images; 0
            for none.
        gpu_share: of a GPU per worker, where there are GPUs; 0 for the CPU.
        datasets: folder or URL of the lake of the datasets; empty for the same.
    """

    lake: str
    job: str
    batch_size: int | None
    storage_retry_s: float
    cache_bytes: int = 0
    gpu_share: float = 1.0
    datasets: str = ""
