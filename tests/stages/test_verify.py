"""What is wrong in a lake is found, named, removed on request, and computed again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stir_ray.job import Job
from stir_ray.lake.schemas import COMPARISONS, INVERSIONS
from stir_ray.lake.tables import open_lake
from stir_ray.stages.verify import Finding, verify
from workflows import invariance


def findings(lake: str) -> dict[str, str]:
    """Problems by key."""
    seen = verify(open_lake(lake))
    return {one.key: one.problem for one in seen if isinstance(one, Finding)}


def first(lake: str, pattern: str) -> Path:
    """The first file of a kind."""
    return min(Path(lake).glob(pattern))


def test_a_finished_lake_is_right(finished: Path) -> None:
    assert findings(str(finished)) == {}
    assert len(list(verify(open_lake(str(finished))))) == len(
        [path for path in finished.rglob("*.*") if "jobs" not in path.parts]
    )


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-37])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [_flip, _truncate, _empty])
@pytest.mark.parametrize("pattern", ["parts/comparisons/*", "parts/images/*", "parts/models/*"])
def test_a_damaged_part_is_named(
    finished_copy: Callable[[], Job], harm: Callable[[Path], None], pattern: str
) -> None:
    lake = finished_copy().lake
    part = first(lake, pattern)
    harm(part)
    assert list(findings(lake)) == [str(part.relative_to(lake))]


def test_a_truncated_checkpoint_is_named(finished_copy: Callable[[], Job]) -> None:
    lake = finished_copy().lake
    checkpoint = first(lake, "checkpoints/*/1-*.safetensors")
    _truncate(checkpoint)
    found = findings(lake)
    assert "its bytes" in found.pop(str(checkpoint.relative_to(lake)))
    # And so is the record of the training, which would keep it from being trained again.
    ((record, problem),) = found.items()
    assert record.startswith("parts/trainings/")
    assert checkpoint.name in problem


def test_a_damaged_checkpoint_is_trained_again(finished_copy: Callable[[], Job]) -> None:
    job = finished_copy()
    _flip(first(job.lake, "checkpoints/*/1-*.safetensors"))
    lake = open_lake(job.lake)
    for key in findings(job.lake):
        lake.objects.delete(key)
    summary = invariance.run(job, serial=True)
    # The same weights again: nothing that was measured on them is measured again.
    assert dict(summary.tally.ran) == {"train": 1}
    assert findings(job.lake) == {}


def test_a_part_under_the_name_of_another_is_named(finished_copy: Callable[[], Job]) -> None:
    lake = finished_copy().lake
    one, other = sorted(Path(lake).glob("parts/comparisons/*"))[:2]
    other.write_bytes(one.read_bytes())
    assert "another part" in findings(lake)[f"parts/comparisons/{other.name}"]


def test_a_foreign_file_and_a_part_of_another_table_are_named(
    finished_copy: Callable[[], Job],
) -> None:
    lake = finished_copy().lake
    comparison = first(lake, "parts/comparisons/*")
    moved = Path(lake) / "parts" / INVERSIONS.name / comparison.name
    comparison.rename(moved)
    (Path(lake) / "parts" / COMPARISONS.name / "notes.txt").write_text("mine")
    found = findings(lake)
    assert "columns" in found[f"parts/inversions/{comparison.name}"]
    assert "not a part" in found["parts/comparisons/notes.txt"]
    assert len(found) == 2


def test_what_was_damaged_and_removed_is_computed_again(finished_copy: Callable[[], Job]) -> None:
    job = finished_copy()
    part = first(job.lake, "parts/comparisons/*")
    before = open_lake(job.lake).read(COMPARISONS, part.stem)
    _flip(part)
    lake = open_lake(job.lake)
    for key in findings(job.lake):
        lake.objects.delete(key)
    assert invariance.run(job, serial=True).tally.tasks == 1
    assert lake.read(COMPARISONS, part.stem).equals(before)
