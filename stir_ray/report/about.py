"""What was computed, in a sentence and in lists: models, data, settings, versions, cost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stir_ray import __version__
from stir_ray.catalog.runs import RunRecord, StageTotals, device_seconds
from stir_ray.formatting import format_hours, format_values, pluralize, without_secrets
from stir_ray.job import Job
from stir_ray.numerics.settings import Initialization
from stir_ray.plan.resolved_job import ResolvedJob, is_finetuned
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import CPU, FINETUNED
from stir_ray.report.text import convergence_text
from stir_ray.results.reduce import Reduced

_ASSUMED = (
    "Self-STIR is assumed to be 1 (`assume_self_stir_one`), as in the paper: where a layer sees "
    "its own inversions, learning, forgetting and the control are differences from 1 instead of "
    "from the measured self-STIR, which is among the diagnostics."
)
_WARNING = "WARNING: "
_STARTS = {
    Initialization.NOISE: "noise",
    Initialization.LIGHT_NOISE: "light noise",
    Initialization.GRAY: "gray",
    Initialization.OTHER_IMAGE: "another image",
}


@dataclass(frozen=True)
class About:
    """What the page says about its job as a whole."""

    name: str
    sentence: str  # what was computed
    converged: str = ""  # that the inversions converged and the numbers do not move, if so
    warnings: Sequence[str] = ()  # what to know before anything else is read
    settings: Sequence[tuple[str, str]] = ()  # of the job, flat
    versions: Sequence[tuple[str, str]] = ()  # of the code and of its packages
    cost: Sequence[Sequence[str]] = ()  # of its runs: stage, tasks, failed ones, seconds, devices
    runs: str = ""  # in words


def about(
    resolved: ResolvedJob,
    study: Study,
    reduced: Reduced,
    runs: Sequence[RunRecord],
    origin: Mapping[str, Any],
) -> About:
    """Describe a job.

    Args:
        resolved: the job.
        study: its models and images.
        reduced: how complete its results are.
        runs: that ran tasks, oldest first.
        origin: provenance of its first inversion; empty where there is none yet.
    """
    job = resolved.job
    lines = list(convergence_text(reduced.convergence))
    doubts = [line.removeprefix(_WARNING) for line in lines if line.startswith(_WARNING)]
    warnings = [doubt[:1].upper() + doubt[1:].replace("`", "") for doubt in doubts]
    excluded = {"execution", "schema_version"}
    settings = job.model_dump(mode="json", exclude=excluded, exclude_none=True)
    return About(
        name=job.name,
        sentence=_sentence(job, study, reduced),
        converged=" ".join(line for line in lines if not line.startswith(_WARNING)),
        warnings=[*warnings, *([_ASSUMED] if job.assume_self_stir_one else []), *_gaps(reduced)],
        settings=[(name, without_secrets(value)) for name, value in _flat(settings)],
        versions=list(_versions(origin)),
        cost=list(_cost(runs)),
        runs=_in_words(runs),
    )


def _sentence(job: Job, study: Study, reduced: Reduced) -> str:
    pretrained = study.pretrained.architecture.timm
    compared = []
    for role, checkpoints in study.compared.items():
        if not checkpoints:
            continue
        timm = checkpoints[0].architecture.timm
        other = f" ({timm})" if timm != pretrained else ""
        if role == FINETUNED:
            epochs = format_values(checkpoint.epoch for checkpoint in checkpoints)
            name = "finetuned" if is_finetuned(job) else "compared"
            many = "epoch" if epochs.isdigit() else "epochs"
            compared.append(f"the {name} model{other} at {many} {epochs}")
        else:
            compared.append(f"a model trained {role.replace('_', ' ')}{other}")
    data = job.data.model_dump(mode="json")
    name = data.get("name") or data.get("path") or data["source"]
    classes = f" (classes {format_values(data['classes'])})" if data.get("classes") else ""
    return (
        f"Layers {format_values(study.spec.layers)} of a pretrained model ({pretrained}) and of "
        f"the models compared with it {'are being' if reduced.missing else 'were'} inverted on "
        f"{job.images.count} images of the {job.images.split} split of {name}{classes}, starting "
        f"from {_STARTS[job.inversion.init]} ({pluralize(len(study.seeds), 'seed')}); the "
        "pretrained model and each of the others see each other's inverted images. Compared: "
        f"{' and '.join(compared) or 'no other model yet'}."
    )


def _gaps(reduced: Reduced) -> Iterator[str]:
    if reduced.missing:
        yield (
            f"{reduced.missing} of {reduced.cells} cells have no number yet; they are grey or "
            "left out below, and never counted as 0. `stir-ray failures` says which failed and "
            "why; `stir-ray run` computes what is missing."
        )
    if reduced.untested:
        yield f"{reduced.untested} of {reduced.models} models are not tested on images yet."
    if reduced.missing_optional:
        yield f"{pluralize(reduced.missing_optional, 'result')} of optional measures missing."


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        path = f"{above}{key}"
        if isinstance(item, Mapping):
            yield from _flat(item, f"{path}.")
        elif isinstance(item, list):
            is_long = len(item) > 12 and all(isinstance(number, int) for number in item)
            yield path, format_values(item) if is_long else ", ".join(map(str, item))
        else:
            yield path, str(item)


def _versions(origin: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "this page", f"stir_ray {__version__}"
    if origin:
        yield (
            "computed by",
            f"stir_ray {origin.get('version')} (code {str(origin.get('code'))[:12]})",
        )
        yield "python", str(origin.get("python"))
        yield from ((name, str(version)) for name, version in origin.get("packages", {}).items())
        yield "device of the first inversion", str(origin.get("device"))
        yield "machine", str(origin.get("host"))


def _cost(runs: Sequence[RunRecord]) -> Iterator[Sequence[str]]:
    for stage in dict.fromkeys(stage for run in runs for stage in run.stages):
        selected = [run for run in runs if stage in run.stages]
        totals = sum((run.stages[stage] for run in selected), start=StageTotals())
        if totals.ran:
            devices = sorted({name for run in selected for name in run.devices.get(stage, ())})
            on_gpu = sum(device_seconds(run, stage, run.stages[stage].seconds) for run in selected)
            time, unit = format_hours(on_gpu / 3600)
            gpu = f" ({time} GPU-{unit})" if devices and CPU not in devices else ""
            seconds = f"{totals.seconds + totals.failed_seconds:,.0f}{gpu}"
            yield stage, str(totals.ran), str(totals.failed), seconds, ", ".join(devices)


def _in_words(runs: Sequence[RunRecord]) -> str:
    if not runs:
        return "No run has recorded what it took."
    last = runs[-1]
    minutes = sum((run.updated - run.began).total_seconds() for run in runs) / 60
    ended = "has no recorded end: running, or killed" if last.exit_code is None else last.ended
    is_shared = any(len(run.jobs) > 1 for run in runs)
    where = f" on {pluralize(len(last.nodes), 'machine')}" if last.nodes else ""
    return (
        f"{pluralize(len(runs), 'run')} with work to do took {minutes:,.1f} minutes. The "
        f"last began {last.began:%Y-%m-%d %H:%M} UTC with {pluralize(last.workers, 'worker')}"
        f"{where}; {ended}.{' Some of them computed other jobs too.' if is_shared else ''}"
    )
