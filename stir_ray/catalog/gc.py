"""What a lake holds that no recorded job needs any more.

Objects are listed before the records are read, and a job is recorded before anything is computed
for it. So what is listed was written for a job whose record is read, or for none that is left. The
rest is caution: what is young stays, and so does what nobody can judge yet.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from stir_ray.catalog.forecast import InspectedJob, known_to_lake, tasks_by_stage
from stir_ray.catalog.snapshots import read_record
from stir_ray.errors import LakeError, StirRayError
from stir_ray.lake.keys import (
    ARTIFACTS,
    CHECKPOINTS,
    JOBS,
    parse_artifact_key,
    parse_result_key,
    parse_run_key,
    parse_spec_key,
    training_of,
)
from stir_ray.lake.map_concurrent import map_concurrent
from stir_ray.lake.parquet import Lake, StoredIds
from stir_ray.lake.schemas import (
    ACCURACIES,
    COMPARISONS,
    CORRECT,
    FAILURES,
    IMAGES,
    INVERSIONS,
    TRAININGS,
)
from stir_ray.measures import MEASURES, artifact_tables
from stir_ray.plan.checkpoints import LAKE
from stir_ray.plan.preparation import InspectModel, Train
from stir_ray.plan.tasks import is_done, task_id
from stir_ray.worker.study_reader import inspected_card, trained_checkpoints

DRAFTS, RUNS = "drafts", "runs"
"""In place of a table: what killed writers left, and records of runs of jobs that are given up."""
YOUNG_S = 3600.0
"""For so long somebody may just be writing what will refer to an object."""
_AFTER_TRAINING = {
    *(INVERSIONS.name, IMAGES.name, COMPARISONS.name, *MEASURES),
    *(ACCURACIES.name, CORRECT.name, FAILURES.name),
}
_AFTER_PRETRAINING = {TRAININGS.name, CHECKPOINTS} | _AFTER_TRAINING


@dataclass(frozen=True)
class Unused:
    """An object that no job needs: its key, what it is one of, and its bytes."""

    key: str
    table: str
    size: int


@dataclass(frozen=True)
class GarbageReport:
    """What may be removed from a lake, and what is left alone.

    Attributes:
        unused: what may be removed.
        young: objects that look unused and are too young to be judged.
        undecided: records of jobs whose models are not all trained, with the tables that hold what
            they may need once they are; nothing of these tables is unused.
    """

    unused: tuple[Unused, ...]
    young: int
    undecided: dict[str, frozenset[str]]


@dataclass
class _Needed:
    """Recorded jobs, ids by table that they refer to, keys of their checkpoints, the undecided.

    `checkpoints` has the ended trainings alone: of the others every file is kept.
    """

    jobs: set[str] = field(default_factory=set)
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    checkpoints: dict[str, set[str]] = field(default_factory=dict)
    undecided: dict[str, frozenset[str]] = field(default_factory=dict)


def unused(lake: Lake, *, young_s: float = YOUNG_S) -> GarbageReport:
    """What no recorded job needs; foreign objects are not ours to judge.

    Args:
        lake: to look through.
        young_s: what was written less long ago is left alone, and so is what has no time.

    Raises:
        LakeError: if there is nothing at all, or it is not known what some job needs.
    """
    listed = lake.objects.list(ARTIFACTS) | lake.objects.list(CHECKPOINTS)
    if not listed:
        raise LakeError(f"lake {lake.objects.location()}: holds no part; is it the right place?")
    listed |= {key: size for key, size in lake.objects.list(JOBS).items() if parse_run_key(key)}
    needed = _needed(lake)
    kept = frozenset().union(*needed.undecided.values())
    found = [
        Unused(key, table, listed[key])
        for key in sorted(listed)
        if (table := _table_of(key)) and table not in kept and not _is_needed(key, needed)
    ]
    ages: dict[str, float] = {}
    for top in (ARTIFACTS, CHECKPOINTS, JOBS) if found else ():
        ages |= lake.objects.ages(top)
    # A training may be about to be recorded: then all its files are as young as the last.
    fresh = {training_of(key) for key, age in ages.items() if age <= young_s} - {None}
    old = [
        one
        for one in found
        if ages.get(one.key, 0.0) > young_s and training_of(one.key) not in fresh
    ]
    drafts = [
        Unused(draft.key, DRAFTS, draft.size)
        for draft in lake.objects.temp_files()
        if draft.age_s > young_s
    ]
    return GarbageReport((*old, *drafts), len(found) - len(old), needed.undecided)


def remove(surplus: GarbageReport, lake: Lake) -> None:
    """Remove what is unused, several objects at a time."""
    # The record of a training goes before its checkpoints: a death between the two leaves files
    # that nobody names, and not a record that names nothing.
    parts = [one.key for one in surplus.unused if one.table != CHECKPOINTS]
    checkpoints = [one.key for one in surplus.unused if one.table == CHECKPOINTS]
    for keys in (parts, checkpoints):
        for _ in map_concurrent(lake.objects.delete, keys):
            pass


def _table_of(key: str) -> str | None:
    """What an object is one of; None if it is foreign."""
    named = parse_artifact_key(key)
    if named:
        return named[0] if named[0] in artifact_tables() else None
    if parse_run_key(key):
        return RUNS
    return CHECKPOINTS if training_of(key) else None


def _is_needed(key: str, needed: _Needed) -> bool:
    named, training, run = parse_artifact_key(key), training_of(key), parse_run_key(key)
    if run:
        return run[0] in needed.jobs
    if named:
        return named[1] in needed.ids[named[0]]
    # Of a training that has not ended any file may be the one that its record will name.
    of_ended = needed.checkpoints.get(training or "")
    return training in needed.ids[TRAININGS.name] if of_ended is None else key in of_ended


def _needed(lake: Lake) -> _Needed:
    keys = lake.objects.list(JOBS)
    records = [key for key in keys if parse_spec_key(key)]
    recorded = {named[0] for key in records if (named := parse_spec_key(key))}
    with_results = {named[0] for key in keys if (named := parse_result_key(key))}
    for job in sorted(with_results - recorded):
        raise LakeError(
            f"{JOBS}/{job}: has results and no record of what the job needs; run it again, which "
            "starts no task, or delete the folder to give it up"
        )
    needed, stored = _Needed(recorded), StoredIds(lake)
    for key in sorted(records):
        _add(needed, key, _planned(key, lake), stored)
    return needed


def _planned(key: str, lake: Lake) -> InspectedJob:
    """The job of a record, which can be planned."""
    why = "its inspections are not in the lake"
    try:
        known = known_to_lake(read_record(key, lake).asked, lake)
        if known:
            _ = known.study  # read here, where an error names the record
            return known
    except (StirRayError, FileNotFoundError) as error:
        why = str(error)
    raise LakeError(
        f"{key}: what this job needs is not known ({why}); run it again, or delete this record to "
        "give it up"
    )


def _add(needed: _Needed, key: str, known: InspectedJob, stored: StoredIds) -> None:
    for _, tasks in tasks_by_stage(known):
        for task in tasks:
            for part in task.outputs:
                needed.ids[part.table].add(part.id)
            if not is_done(task, stored):
                needed.ids[FAILURES.name].add(task_id(task))
            if isinstance(task, Train) and task.id in stored[TRAININGS.name]:
                places = (one.location for one in trained_checkpoints(task, known.lake))
                needed.checkpoints[task.id] = {place.removeprefix(LAKE) for place in places}
            if isinstance(task, InspectModel):
                # Weights that were drawn lie in the lake, those of one's own elsewhere.
                place = inspected_card(task, known.lake)["location"]
                needed.checkpoints[task.id] = {place.removeprefix(LAKE)}
    study = known.study
    if not study.pretrained.is_trained:
        needed.undecided[key] = frozenset(_AFTER_PRETRAINING)
    elif study.trained().compared.keys() != study.compared.keys():
        needed.undecided[key] = frozenset(_AFTER_TRAINING)
