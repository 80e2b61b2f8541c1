"""What a worker says of what it cannot read."""

from pathlib import Path

import fsspec
import pytest

from stir_ray.errors import ModelError
from stir_ray.stages.bench.workbench import Workbench
from stir_ray.stages.work import WorkerSettings


@pytest.mark.parametrize("content", [None, b"no weights"], ids=["absent", "damaged"])
def test_a_checkpoint_that_cannot_be_had_is_named_without_secrets(
    tmp_path: Path, content: bytes | None
) -> None:
    url = "memory://me:hunter2@secrets/weights?sig=hunter2"
    if content is not None:
        fsspec.filesystem("memory").pipe_file(url, content)
    bench = Workbench(WorkerSettings(str(tmp_path), "", None, 0.0), threads=1)
    with pytest.raises(ModelError, match=r"secrets/weights") as caught:
        bench.models.read(url)
    assert "hunter2" not in str(caught.value)
