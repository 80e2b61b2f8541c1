"""What a lake holds that no job needs any more.

Objects are listed before the snapshots of jobs are read, and a snapshot is saved before anything is
computed for its job. So every listed object was written for a job whose snapshot is read, or for
none that is left. The rest is caution: young objects stay, and so does what cannot be judged yet.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from stir_ray.catalog.inspection import InspectedJob, inspected_in_lake, read_snapshot
from stir_ray.errors import LakeError, StirRayError
from stir_ray.lake.keys import (
    ARTIFACTS,
    CHECKPOINTS,
    JOBS,
    artifact_key,
    result_key,
    run_key,
    spec_key,
    training_of,
)
from stir_ray.lake.parquet import Lake, StoredIds
from stir_ray.lake.schemas import FAILURES, IMAGE_SETS, MODELS, TEST_SETS, TRAININGS
from stir_ray.lake.store import map_concurrent
from stir_ray.measures import artifact_tables
from stir_ray.plan.model_tasks import InspectModel, Train
from stir_ray.plan.tasks import LAKE, is_done, task_id
from stir_ray.results.study_reader import read_summary, trained_checkpoints

_TEMPORARY, _RUNS = "temporary files", "runs"
"""In place of a table: files of killed writers, and records of runs of jobs that were deleted."""
_YOUNG_S = 3600.0
"""Younger objects stay: what refers to them may not be written yet."""


@dataclass(frozen=True)
class Unused:
    """An object that no job needs: its key, its table, and its bytes."""

    key: str
    table: str
    size: int


@dataclass(frozen=True)
class GarbageReport:
    """What may be removed from a lake, and what is left alone."""

    unused: tuple[Unused, ...]  # what may be removed
    young: int  # objects that look unused and are too young to be judged
    # Snapshots of jobs whose models are not all trained, with the tables of what they may need once
    # they are; nothing of these tables is unused.
    undecided: dict[str, frozenset[str]]


@dataclass
class _Needed:
    """What the jobs of a lake need."""

    jobs: set[str]  # their names
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # by table
    # Keys, by the id of a training that has ended; of others every file is kept.
    checkpoints: dict[str, set[str]] = field(default_factory=dict)
    undecided: dict[str, frozenset[str]] = field(default_factory=dict)

    def includes(self, key: str) -> bool:
        """Return whether an object is needed."""
        if run := run_key.parse(key):
            return run[0] in self.jobs
        if artifact := artifact_key.parse(key):
            return artifact[1] in self.ids[artifact[0]]
        training = training_of(key) or ""
        keys = self.checkpoints.get(training)
        return training in self.ids[TRAININGS.name] if keys is None else key in keys


def unused(lake: Lake, *, young_s: float = _YOUNG_S) -> GarbageReport:
    """Return what no job needs of the objects that stir_ray writes.

    Args:
        lake: to look through.
        young_s: objects that are younger are left alone, and so are objects without a time.

    Raises:
        LakeError: if there is nothing at all, or it is not known what some job needs.
    """
    sizes = lake.objects.list(ARTIFACTS) | lake.objects.list(CHECKPOINTS)
    if not sizes:
        raise LakeError(f"lake {lake.objects.location()}: no artifacts; is the location right?")
    sizes |= {key: size for key, size in lake.objects.list(JOBS).items() if run_key.parse(key)}
    needed = _needed(lake)
    undecided = frozenset().union(*needed.undecided.values())
    candidates = [
        Unused(key, table, sizes[key])
        for key in sorted(sizes)
        if (table := _table_of(key)) and table not in undecided and not needed.includes(key)
    ]
    ages: dict[str, float] = {}
    for top in (ARTIFACTS, CHECKPOINTS, JOBS) if candidates else ():
        ages |= lake.objects.ages(top)
    # A training may be about to be recorded: then all its files are as young as the last.
    in_progress = {training_of(key) for key, age in ages.items() if age <= young_s} - {None}
    old = [
        candidate
        for candidate in candidates
        if ages.get(candidate.key, 0.0) > young_s and training_of(candidate.key) not in in_progress
    ]
    temporary = [
        Unused(key, _TEMPORARY, size)
        for key, (age_s, size) in lake.objects.temp_files().items()
        if age_s > young_s
    ]
    return GarbageReport((*old, *temporary), len(candidates) - len(old), needed.undecided)


def remove(garbage: GarbageReport, lake: Lake) -> None:
    """Remove what is unused, several objects at a time."""
    # The record of a training goes before its checkpoints: if the process is killed in between, it
    # leaves checkpoints without a record, and not a record without checkpoints.
    for is_checkpoint in (False, True):
        keys = [item.key for item in garbage.unused if (item.table == CHECKPOINTS) == is_checkpoint]
        for _ in map_concurrent(lake.objects.delete, keys):
            pass


def _table_of(key: str) -> str | None:
    """Return the table of an object; None if stir_ray did not write it."""
    if artifact := artifact_key.parse(key):
        return artifact[0] if artifact[0] in artifact_tables() else None
    if run_key.parse(key):
        return _RUNS
    return CHECKPOINTS if training_of(key) else None


def _needed(lake: Lake) -> _Needed:
    keys = lake.objects.list(JOBS)
    snapshots = {key: job[0] for key in keys if (job := spec_key.parse(key))}
    with_results = {job[0] for key in keys if (job := result_key.parse(key))}
    for job in sorted(with_results - set(snapshots.values())):
        raise LakeError(
            f"{JOBS}/{job}: has results and no record of what the job needs; run it again, which "
            "starts no task, or delete the folder to give it up"
        )
    needed, stored = _Needed(set(snapshots.values())), StoredIds(lake)
    for key in sorted(snapshots):
        reason: object = "its inspections are not in the lake"
        try:
            inspected = inspected_in_lake(read_snapshot(key, lake)[0], lake)
            if inspected:
                _add(needed, key, inspected, stored)
                continue
        except (StirRayError, FileNotFoundError) as error:
            reason = error
        raise LakeError(
            f"{key}: what this job needs is not known ({reason}); run it again, or delete this "
            "record to give it up"
        )
    return needed


def _add(needed: _Needed, key: str, inspected: InspectedJob, stored: StoredIds) -> None:
    lake, locations = inspected.lake, dict[str, list[str]]()
    for _, tasks in inspected.stages():
        for task in tasks:
            for output in task.outputs:
                needed.ids[output.table].add(output.id)
            if not is_done(task, stored):
                needed.ids[FAILURES.name].add(task_id(task))
            if isinstance(task, Train) and task.id in stored[TRAININGS.name]:
                locations[task.id] = [model.location for model in trained_checkpoints(task, lake)]
            if isinstance(task, InspectModel):
                # Randomly initialised weights lie in the lake, those of other files elsewhere.
                locations[task.id] = [read_summary(task, lake)["location"]]
    for training, files in locations.items():
        needed.checkpoints[training] = {location.removeprefix(LAKE) for location in files}
    study = inspected.study
    inspections = {IMAGE_SETS.name, MODELS.name, TEST_SETS.name, TRAININGS.name}
    after_training = frozenset(artifact_tables()) - inspections
    if not study.pretrained.is_trained:
        needed.undecided[key] = after_training | {TRAININGS.name, CHECKPOINTS}
    elif study.without_untrained().compared.keys() != study.compared.keys():
        needed.undecided[key] = after_training
