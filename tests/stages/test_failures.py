"""What a failure is to the person who meets it."""

from pathlib import Path

import pytest

from stir_ray.errors import InputError, LakeAway, MissingPart, StirRayError, TasksFailed
from stir_ray.lake.tables import open_lake
from stir_ray.stages.asked import look
from stir_ray.stages.forecast import inspected
from tests.small_job import small_job
from workflows import finetune


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (MemoryError("no room"), TasksFailed),
        (LakeAway("no answer"), LakeAway),
        (PermissionError("not yours"), InputError),
        (ValueError("no image"), InputError),
    ],
)
def test_a_failed_inspection_is_the_persons_to_mend_only_if_it_fails_alike_each_time(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    expected: type[StirRayError],
) -> None:
    def gather_images(*_: object) -> None:
        raise failure

    monkeypatch.setattr("stir_ray.stages.inspect.gather_images", gather_images)
    monkeypatch.setattr("stir_ray.execution.executor.time.sleep", lambda _: None)
    job = small_job(tmp_path)
    with pytest.raises(expected, match=str(failure)) as run:
        finetune.run(job, serial=True)
    with pytest.raises(expected, match=str(failure)) as planned:
        inspected(look(job), open_lake(job.lake))
    assert run.type is planned.type is expected


def test_a_driver_that_does_not_see_what_workers_wrote_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stir_ray.stages.inspect.gather_images", lambda *_: None)
    with pytest.raises(MissingPart, match=f"lake {tmp_path}.*a folder that all machines share"):
        finetune.run(small_job(tmp_path), serial=True)
