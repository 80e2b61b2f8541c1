"""What was computed, in a sentence and in lists: models, data, settings, versions, cost."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stir_ray import __version__
from stir_ray.catalog.runs import RunRecord, device_seconds
from stir_ray.formatting import pluralize, spelled, timed, without_secrets
from stir_ray.job import Job
from stir_ray.numerics.settings import Initialization
from stir_ray.plan.resolved_job import ResolvedJob, is_finetuned
from stir_ray.plan.study import Study
from stir_ray.plan.tasks import CPU
from stir_ray.report.text import convergence_text
from stir_ray.results.reduce import Reduced

_ASSUMED = (
    "Self-STIR is taken for 1 (`assume_self_stir_one`), as in the paper: learning, forgetting and "
    "the control are differences from 1 where equal layers look at their own inversions, and not "
    "from the self-STIR that was measured and stands among the diagnostics."
)
_WARNING = "WARNING: "
Rows = Sequence[tuple[str, str]]
"""Names and what they are."""


@dataclass(frozen=True)
class About:
    """What a job is of.

    Attributes:
        name: of the job.
        sentence: what was computed.
        converged: that the inversions converged, and that the numbers do not move, where it is
            so; else empty.
        warnings: what to know before anything else is read.
        settings: of the job, flat.
        versions: of the code and of what it stands on.
        cost: of its runs, by stage.
        runs: in words.
    """

    name: str
    sentence: str
    converged: str = ""
    warnings: Sequence[str] = ()
    settings: Rows = ()
    versions: Rows = ()
    cost: Sequence[Sequence[str]] = ()
    runs: str = ""
    cost_columns: Sequence[str] = field(
        default=("stage", "tasks that ran", "failed", "seconds of work", "devices")
    )


def about(
    asked: ResolvedJob,
    study: Study,
    reduced: Reduced,
    runs: Sequence[RunRecord],
    made_by: Mapping[str, Any],
) -> About:
    """Of a job.

    Args:
        asked: the job.
        study: its models and images.
        reduced: how complete its results are.
        runs: that left a record, oldest first.
        made_by: provenance of one of its parts; empty where there is none yet.
    """
    job = asked.job
    lines = list(convergence_text(reduced.convergence))
    doubts = [
        line.removeprefix(_WARNING).replace("`", "") for line in lines if line.startswith(_WARNING)
    ]
    warnings = [
        *(doubt[:1].upper() + doubt[1:] for doubt in doubts),
        *([_ASSUMED] if job.assume_self_stir_one else []),
        *_gaps(reduced),
    ]
    return About(
        name=job.name,
        sentence=_sentence(job, study, reduced),
        converged=" ".join(line for line in lines if not line.startswith(_WARNING)),
        warnings=warnings,
        settings=[(name, without_secrets(value)) for name, value in _flat(_settings(job))],
        versions=list(_versions(made_by)),
        cost=list(_cost(runs)),
        runs=_in_words(runs),
    )


def _sentence(job: Job, study: Study, reduced: Reduced) -> str:
    layers = study.spec.layers
    starts = pluralize(len(study.seeds), _STARTS[job.inversion.init])
    pretrained = study.pretrained.architecture.timm
    compared = " and ".join(
        _compared(
            role,
            [item.epoch for item in several],
            several[0].architecture.timm,
            pretrained,
            "finetuned" if is_finetuned(job) else "compared",
        )
        for role, several in study.compared.items()
        if several
    )
    done = "are being" if reduced.missing else "were"
    return (
        f"Layers {spelled(layers)} of a pretrained model ({pretrained}) and of what it is compared "
        f"with {done} inverted on {job.images.count} images of {_data(job)}, each from {starts}, "
        f"and shown to each other: {compared or 'no other model yet'}."
    )


_STARTS = {
    Initialization.NOISE: "noise start",
    Initialization.LIGHT_NOISE: "start of light noise",
    Initialization.GRAY: "gray start",
    Initialization.OTHER_IMAGE: "start from another image",
}


def _compared(role: str, epochs: Iterable[int], timm: str, pretrained: str, second: str) -> str:
    other = f" ({timm})" if timm != pretrained else ""
    if role == "finetuned":
        shown = spelled(epochs)
        many = "epoch" if shown.isdigit() else "epochs"
        return f"the {second} model{other} at {many} {shown}"
    return f"a model trained {role.replace('_', ' ')}{other}"


def _data(job: Job) -> str:
    data = job.data.model_dump(mode="json")
    name = data.get("name") or data.get("path") or data["source"]
    classes = data.get("classes")
    chosen = f" (classes {spelled(classes)})" if classes else ""
    return f"the {job.images.split} split of {name}{chosen}"


def _gaps(reduced: Reduced) -> Iterator[str]:
    if reduced.missing:
        yield (
            f"{reduced.missing} of {reduced.cells} cells have no number yet; they are hatched or "
            "left out below, and never counted as 0. `stir-ray failures` says which failed and "
            "why, `stir-ray run` computes what is missing."
        )
    if reduced.untested:
        yield f"{reduced.untested} of {reduced.models} models are not tested on images yet."
    if reduced.missing_optional:
        yield f"{pluralize(reduced.missing_optional, 'further measure')} missing."


def _settings(job: Job) -> dict[str, Any]:
    return job.model_dump(mode="json", exclude={"execution", "schema_version"}, exclude_none=True)


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        path = f"{above}{key}"
        if isinstance(item, Mapping):
            yield from _flat(item, f"{path}.")
        elif isinstance(item, list):
            is_long = len(item) > 12 and all(isinstance(item, int) for item in item)
            yield path, spelled(item) if is_long else ", ".join(str(item) for item in item)
        else:
            yield path, str(item)


def _versions(made_by: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "this page", f"stir_ray {__version__}"
    if not made_by:
        return
    yield "computed by", f"stir_ray {made_by.get('version')} (code {str(made_by.get('code'))[:12]})"
    for name, version in {"python": made_by.get("python"), **made_by.get("packages", {})}.items():
        yield name, str(version)
    yield "device of the first inversion", str(made_by.get("device"))
    yield "machine", str(made_by.get("host"))


def worked(runs: Iterable[RunRecord]) -> list[RunRecord]:
    """Those in which there was something to do."""
    return [run for run in runs if any(took.ran for took in run.stages.values())]


def _cost(runs: Sequence[RunRecord]) -> Iterator[Sequence[str]]:
    stages = dict.fromkeys(stage for run in runs for stage in run.stages)
    for stage in stages:
        selected = [run for run in runs if stage in run.stages]
        took = [run.stages[stage] for run in selected]
        ran = sum(item.ran for item in took)
        if not ran:
            continue
        seconds = sum(item.seconds + item.failed_seconds for item in took)
        devices = sorted({name for run in selected for name in run.devices.get(stage, ())})
        on_gpu = sum(device_seconds(run, stage, run.stages[stage].seconds) for run in selected)
        time, unit = timed(on_gpu / 3600)
        gpu = f" ({time} GPU-{unit})" if devices and CPU not in devices else ""
        failed = str(sum(item.failed for item in took))
        yield stage, str(ran), failed, f"{seconds:,.0f}{gpu}", ", ".join(devices)


def _in_words(runs: Sequence[RunRecord]) -> str:
    if not runs:
        return "No run left a record of what it took."
    last = runs[-1]
    minutes = sum((run.updated - run.began).total_seconds() for run in runs) / 60
    ended = "has no recorded end: it runs, or was killed" if last.exit_code is None else last.ended
    shared = " Other jobs were computed in some of them." if any(
        len(run.jobs) > 1 for run in runs
    ) else ""  # fmt: skip
    where = f" on {pluralize(len(last.nodes), 'machine')}" if last.nodes else ""
    return (
        f"{pluralize(len(runs), 'run')} that had something to do took {minutes:,.1f} minutes. The "
        f"last began {last.began:%Y-%m-%d %H:%M} UTC with {pluralize(last.workers, 'worker')}"
        f"{where}; {ended}.{shared}"
    )
