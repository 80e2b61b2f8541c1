"""How fast earlier runs were, by the records that they left in the lake."""

from collections.abc import Iterator, Sequence

from stir_ray.catalog.runs import Run
from stir_ray.plan.estimate import CPU, Measured, Rate, rate_of


def measured_rate(runs: Sequence[Run]) -> Rate | None:
    """The rate of the device that the last of some runs used, over all of them on such devices."""
    runs = [run for run in runs if any(_work(run))]
    if not runs:
        return None
    device = [one.device for one in _work(runs[-1])][-1]
    on_it = [run for run in runs if any(one.device == device for one in _work(run))]
    return rate_of((one for run in on_it for one in _work(run)), device=device, runs=len(on_it))


def mean_steps(runs: Sequence[Run]) -> float | None:
    """Steps that inversions which could end early took on average; None if no run tells.

    Whatever their models and settings.
    """
    took = [took for run in runs for took in run.stages.values()]
    inversions = sum(one.inversions for one in took)
    return sum(one.steps for one in took) / inversions if inversions else None


def device_seconds(run: Run, stage: str, seconds: float) -> float:
    """Of its devices, where workers that share a GPU have a part of one each."""
    names = run.devices.get(stage, ())
    share = 1.0 if CPU in names else run.gpus_per_worker or 1.0
    return seconds * share


def _work(run: Run) -> Iterator[Measured]:
    """What a run did on devices of one kind; what it did on several cannot be told apart."""
    for stage, took in run.stages.items():
        names = run.devices.get(stage, ())
        if len(names) == 1 and took.flops > 0 and took.flops_seconds > 0:
            seconds = device_seconds(run, stage, took.flops_seconds)
            yield Measured(stage, names[0], took.flops, seconds)
