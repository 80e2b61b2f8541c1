"""What a run says at its end: how complete and how well converged its results are."""

import math
from collections.abc import Iterator, Mapping

from stir_ray.catalog.failures import Unfinished
from stir_ray.formatting import pluralize
from stir_ray.job import Job
from stir_ray.lake.keys import result_folder
from stir_ray.lake.store import ObjectStore
from stir_ray.numerics.criteria import (
    CONVERGED_DRIFT,
    CONVERGED_RESIDUAL,
    CONVERGED_SELF_STIR,
    NOT_INVERTED_RESIDUAL,
    STUCK_RATIO,
)
from stir_ray.results.job_metrics import Convergence
from stir_ray.results.metric_info import CRITERION
from stir_ray.results.reduce import Reduced


def format_tasks(executed: Mapping[str, int]) -> str:
    """Return how many tasks ran, by stage."""
    if not executed:
        return "No task ran: everything was in the lake."
    return "Tasks run: " + ", ".join(f"{n} {stage}" for stage, n in executed.items()) + "."


def format_results(job: Job, reduced: Reduced) -> str:
    """Return how complete and converged the results are, and their folder."""
    lines = [
        f"{reduced.present} of {reduced.cells} cells have a number.",
        *format_tests(reduced),
        *([f"{_optional(reduced)}."] if reduced.missing_optional else ()),
        *format_convergence(reduced.convergence),
        f"Results: {_folder(job)} (Parquet tables; `stir-ray sql JOB` lists them)",
    ]
    return "\n".join(lines)


def format_job(job: Job, reduced: Reduced) -> str:
    """Return the same of one job of several, on a line."""
    convergence = reduced.convergence
    parts = [f"{reduced.present} of {reduced.cells} cells"]
    if reduced.models:
        parts.append(f"{reduced.tested} of {reduced.models} models tested")
    if reduced.missing_optional:
        parts.append(_optional(reduced))
    if convergence and not convergence.is_enough:
        parts.append("not all inversions converged")
    if convergence and convergence.moving:
        parts.append(f"{convergence.moving} of {convergence.cells} values still moving")
    return f"{', '.join(parts)}: {_folder(job)}"


def format_tests(reduced: Reduced) -> Iterator[str]:
    """Return how many models were tested on corrupted images, if the job asks for that."""
    if reduced.models:
        yield f"{reduced.tested} of {reduced.models} models are tested on corrupted images."


def format_missing(unfinished: Unfinished, reduced: Reduced) -> str:
    """Return why results are not complete, and the command that goes on."""
    parts = [f"{reduced.missing} of {reduced.cells} cells are missing"]
    if reduced.untested:
        parts.append(f"{pluralize(reduced.untested, 'model')} not tested")
    if reduced.missing_optional:
        parts.append(_optional(reduced))
    missing, failed = ", ".join(parts), len(unfinished.failed)
    if not failed:
        tasks = pluralize(unfinished.not_attempted, "task")
        return f"{missing}: {tasks} not tried yet; `stir-ray run JOB` computes them"
    others = f"; {pluralize(unfinished.not_attempted, 'other')} not tried yet: `stir-ray run JOB`"
    return (
        f"{pluralize(failed, 'task')} failed, {missing}; `stir-ray failures JOB` says why and what "
        f"to do{others if unfinished.not_attempted else ''}"
    )


def _optional(reduced: Reduced) -> str:
    return f"{pluralize(reduced.missing_optional, 'further measure')} missing"


def _folder(job: Job) -> str:
    return ObjectStore(job.lake).location(result_folder(job.name))


def format_convergence(state: Convergence | None) -> Iterator[str]:
    """Return whether the inversions converged, and whether the numbers still move."""
    if state is None:
        return
    residual, self_stir = _round_up(state.residual.value), _round_down(state.self_stir.value)
    least, most = state.iterations
    steps = str(least) if least == most else f"{least} to {most}"
    if state.is_enough:
        yield (
            f"All {state.inversions} inversions converged, after {steps} steps: 95 % of the images "
            f"have a centred residual of at most {residual}, self-STIR by {CRITERION} CKA is at "
            f"least {self_stir}."
        )
    else:
        yield (
            f"WARNING: {state.inversions - state.converged} of {state.inversions} inversions did "
            f"not converge in {steps} steps, and what they miss is counted as forgetting or "
            f"learning. Converged is a centred residual of at most {CONVERGED_RESIDUAL} for 95 % "
            f"of the images, self-STIR of at least {CONVERGED_SELF_STIR} by {CRITERION} CKA, and "
            f"no STIR of the model and the pretrained one changed by more than {CONVERGED_DRIFT} "
            f"since half the steps. Largest residual: {residual} ({state.residual.where}); least "
            f"self-STIR: {self_stir} ({state.self_stir.where})."
            f"{'' if state.moving else f' {_remedy(state)}'}"
        )
    if state.stuck or state.not_inverted:
        yield (
            f"Images: {state.not_inverted} are not inverted (centred residual above "
            f"{NOT_INVERTED_RESIDUAL}), {state.stuck} are stuck (centred residual above "
            f"{CONVERGED_RESIDUAL} and more than {STUCK_RATIO} times the median)."
        )
    if state.moving:
        yield (
            f"WARNING: {state.moving} of {state.cells} values of learning, forgetting and flow are "
            "still moving: since half the steps they changed by more than 0.01, or by a third of "
            f"their size; the most by {state.drift.value:.3f} ({state.drift.where}). "
            f"{_remedy(state)}"
        )
    elif state.cells:
        yield (
            "No value of learning, forgetting or flow is still moving: since half the steps none "
            f"changed by more than {state.drift.value:.3f} ({state.drift.where})."
        )


def _remedy(state: Convergence) -> str:
    return (
        f"Take more steps: `--set inversion.iterations={4 * state.iterations[1]}`, and where "
        "inversions ended before their last step `--set inversion.stop_when_converged=false`."
    )


def _round_down(value: float) -> str:
    return f"{math.floor(1000 * value) / 1000:.3f}"


def _round_up(value: float) -> str:
    return f"{math.ceil(1000 * value) / 1000:.3f}"
