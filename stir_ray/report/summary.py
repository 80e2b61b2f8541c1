"""What a person reads at the end."""

import math
from collections.abc import Iterable, Iterator, Mapping

from stir_ray.catalog.failures import Unfinished
from stir_ray.job import Job
from stir_ray.lake.keys import result_folder, result_key
from stir_ray.lake.schemas import ANALYSIS_TABLES, ROBUSTNESS, TEST_CORRECT, TableSchema
from stir_ray.lake.store import ObjectStore
from stir_ray.measures import MEASURES, result_tables
from stir_ray.numerics.criteria import (
    CONVERGED_DRIFT,
    CONVERGED_RESIDUAL,
    CONVERGED_SELF_STIR,
    NOT_INVERTED_RESIDUAL,
    STUCK_RATIO,
)
from stir_ray.plan.failure_filter import FailedTask
from stir_ray.plan.formatting import pluralize
from stir_ray.report.failures import groups
from stir_ray.results.convergence import Convergence
from stir_ray.results.metric_info import CRITERION
from stir_ray.results.reduce import Reduced


def of_tasks(ran: Mapping[str, int]) -> str:
    """How many tasks ran, by stage."""
    if not ran:
        return "No task ran: everything was in the lake."
    return "Tasks run: " + ", ".join(f"{count} {stage}" for stage, count in ran.items()) + "."


def of_results(job: Job, reduced: Reduced, *, is_analysed: bool = False) -> str:
    """How complete the results are, and where; and where their analysis is, if there is one."""
    objects = ObjectStore(job.lake)
    tables = [schema for schema in result_tables().values() if _is_asked_for(schema, job)]
    tables += ANALYSIS_TABLES if is_analysed else ()
    lines = [
        f"{reduced.present} of {reduced.cells} cells have a number.",
        *of_tests(reduced),
        *of_measures_beside(reduced),
        *of_convergence(reduced.convergence),
        *(f"  {objects.location(result_key(job.name, schema.name))}" for schema in tables),
    ]
    return "\n".join(lines)


def _is_asked_for(schema: TableSchema, job: Job) -> bool:
    """Tables of what a job does not ask for are empty."""
    for measure in MEASURES.values():
        if schema.name == measure.result:
            return bool(tuple(measure.options(job)))
    requested = {
        ROBUSTNESS.name: job.robustness,
        TEST_CORRECT.name: job.half_samples and job.robustness,
    }
    return bool(requested.get(schema.name, True))


def of_tests(reduced: Reduced) -> Iterator[str]:
    """How many models were tested on corrupted images, if that is asked for."""
    if reduced.models:
        yield f"{reduced.tested} of {reduced.models} models are tested on corrupted images."


def of_measures_beside(reduced: Reduced) -> Iterator[str]:
    """How many further measures are missing, if any is."""
    if reduced.missing_optional:
        yield f"{pluralize(reduced.missing_optional, 'further measure')} missing."


def of_convergence(found: Convergence | None) -> Iterator[str]:
    """Whether the inversions converged, and whether the numbers built on them still move."""
    if found is None:
        return
    reached = (
        f"95 % of the images have a centred residual of at most {_rounded_up(found.residual.value)}"
        f", self-STIR by {CRITERION} CKA is at least {_rounded_down(found.self_stir.value)}"
    )
    steps = _range(*found.iterations)
    if found.is_enough:
        yield f"All {found.inversions} inversions converged, after {steps} steps: {reached}."
    else:
        yield (
            f"WARNING: {found.inversions - found.converged} of {found.inversions} inversions did "
            f"not converge in {steps} steps, and what they miss is counted as forgetting or "
            f"learning. Converged is a centred residual of at most {CONVERGED_RESIDUAL} for 95 % "
            f"of the images, self-STIR of at least {CONVERGED_SELF_STIR} by {CRITERION} CKA, and "
            f"no STIR of the model and the pretrained one changed by more than {CONVERGED_DRIFT} "
            f"since half the steps. Largest residual: {_rounded_up(found.residual.value)} "
            f"({found.residual.where}); least self-STIR: {_rounded_down(found.self_stir.value)} "
            f"({found.self_stir.where}).{'' if found.moving else f' {_remedy(found)}'}"
        )
    if found.stuck or found.not_inverted:
        yield (
            f"Images: {found.not_inverted} are not inverted (centred residual above "
            f"{NOT_INVERTED_RESIDUAL}), {found.stuck} are stuck (centred residual above "
            f"{CONVERGED_RESIDUAL} and more than {STUCK_RATIO} times the median)."
        )
    yield from _of_drift(found)


def _of_drift(found: Convergence) -> Iterator[str]:
    if found.moving:
        yield (
            f"WARNING: {found.moving} of {found.cells} values of learning, forgetting and flow are "
            "still moving: since half the steps they changed by more than 0.01, or by a third of "
            f"their size; the most by {found.drift.value:.3f} ({found.drift.where}). "
            f"{_remedy(found)}"
        )
    elif found.cells:
        yield (
            "No value of learning, forgetting or flow is still moving: since half the steps none "
            f"changed by more than {found.drift.value:.3f} ({found.drift.where})."
        )


def _remedy(found: Convergence) -> str:
    return (
        f"Take more steps: `--set inversion.iterations={4 * found.iterations[1]}`, and where "
        "inversions ended before their last step `--set inversion.stop_when_converged=false`."
    )


def _range(least: int, most: int) -> str:
    """`50`, or `50 to 400`."""
    return str(least) if least == most else f"{least} to {most}"


def _rounded_down(value: float) -> str:
    return f"{math.floor(1000 * value) / 1000:.3f}"


def _rounded_up(value: float) -> str:
    return f"{math.ceil(1000 * value) / 1000:.3f}"


def of_one_of_many(job: Job, reduced: Reduced) -> str:
    """The same of one job of a file, on a line: how complete, and the folder of all its results."""
    folder = ObjectStore(job.lake).location(result_folder(job.name))
    found = reduced.convergence
    doubt = "" if found is None or found.is_enough else ", not all inversions converged"
    if found and found.moving:
        doubt += f", {found.moving} of {found.cells} values still moving"
    tested = f", {reduced.tested} of {reduced.models} models tested" if reduced.models else ""
    beside = f", {pluralize(reduced.missing_optional, 'further measure')} missing"
    lacking = beside if reduced.missing_optional else ""
    return f"{reduced.present} of {reduced.cells} cells{tested}{lacking}{doubt}: {folder}"


def of_failures(failed: Iterable[FailedTask]) -> Iterator[str]:
    """A line per kind of failure, with an example; the most frequent first."""
    for group in groups(failed):
        example = group[0]
        yield (
            f"{len(group)} failed, {example.failure_class} ({example.fingerprint}), "
            f"e.g. {example.task.label}: {example.message}"
        )


def of_missing(left: Unfinished, reduced: Reduced) -> str:
    """Why results are not complete, and the command that goes on."""
    failed, missing = len(left.failed), f"{reduced.missing} of {reduced.cells} cells are missing"
    if reduced.untested:
        missing += f", {pluralize(reduced.untested, 'model')} not tested"
    if reduced.missing_optional:
        missing += f", {pluralize(reduced.missing_optional, 'further measure')} missing"
    if not failed:
        tasks = pluralize(left.untried, "task")
        return f"{missing}: {tasks} not tried yet; `stir-ray run JOB` computes them"
    others = f"; {pluralize(left.untried, 'other')} not tried yet: `stir-ray run JOB`"
    return (
        f"{pluralize(failed, 'task')} failed, {missing}; `stir-ray failures JOB` says why and what "
        f"to do{others if left.untried else ''}"
    )
