"""What a run would compute and cost, at a rate and a price."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.filesize import decimal

from stir_ray.catalog.status import Forecast, StageForecast
from stir_ray.formatting import timed
from stir_ray.plan.tasks import Throughput
from stir_ray.report.text import render, table


@dataclass(frozen=True)
class StageCost:
    """The tasks of a stage, and the cost of those that are to do.

    Attributes:
        stage: its name.
        planned: number of tasks.
        done: of them.
        to_do: of them.
        flops: if every inversion takes all its steps.
        flops_expected: if every inversion takes `PricedPlan.steps_expected`.
        hours: of one device at the rate, as expected; None if no rate is known.
        gpu_hours: the same; None if the device is a CPU.
        money: price of the GPU-hours; None if no price is known.
        images: number of inverted images.
        image_bytes: of those that are kept.
        checkpoint_bytes: of the weights that trainings store.
    """

    stage: str
    planned: int
    done: int
    to_do: int
    flops: float
    flops_expected: float
    hours: float | None
    gpu_hours: float | None
    money: float | None
    images: int
    image_bytes: float
    checkpoint_bytes: float


@dataclass(frozen=True)
class PricedPlan:
    """What a run would compute and cost.

    Attributes:
        stages: in the order in which they run.
        total: of all stages.
        steps_expected: mean steps of the inversions of earlier runs; None if there are none, and
            then an inversion takes all its steps.
        rate: of one device; None if it is not known.
        price_per_gpu_hour: in any currency.
        jobs: number of jobs that are planned together; what they share counts once.
    """

    stages: tuple[StageCost, ...]
    total: StageCost
    steps_expected: float | None
    rate: Throughput | None
    price_per_gpu_hour: float | None
    jobs: int


def price(
    forecast: Forecast, rate: Throughput | None, price_per_gpu_hour: float | None, *, jobs: int = 1
) -> PricedPlan:
    """Return a forecast with hours at a rate and money at a price."""
    stages = tuple(_stage_cost(stage, rate, price_per_gpu_hour) for stage in forecast.stages)

    def total(name: str) -> Any:
        values = [getattr(stage, name) for stage in stages]
        return None if None in values else sum(values)

    names = [name for name in StageCost.__dataclass_fields__ if name != "stage"]
    totals = StageCost(stage="all", **{name: total(name) for name in names})
    return PricedPlan(stages, totals, forecast.steps, rate, price_per_gpu_hour, jobs)


def _stage_cost(
    stage: StageForecast, rate: Throughput | None, price_per_gpu_hour: float | None
) -> StageCost:
    hours = rate.hours(stage.expected.flops) if rate else None
    gpu_hours = hours if rate and rate.is_of_gpu else None
    money = None
    if gpu_hours is not None and price_per_gpu_hour is not None:
        money = gpu_hours * price_per_gpu_hour
    return StageCost(
        stage=stage.stage,
        planned=stage.planned,
        done=stage.done,
        to_do=stage.planned - stage.done,
        flops=stage.remaining.flops,
        flops_expected=stage.expected.flops,
        hours=hours,
        gpu_hours=gpu_hours,
        money=money,
        images=stage.remaining.images,
        image_bytes=stage.remaining.image_bytes,
        checkpoint_bytes=stage.remaining.checkpoint_bytes,
    )


@render.register
def _(plan: PricedPlan) -> Iterator[RenderableType]:
    if plan.jobs > 1:
        yield f"All {plan.jobs} jobs in one run, what they share counted once:"
    rate, total = plan.rate, plan.total
    columns = {
        "stage": lambda stage: stage.stage,
        "tasks": lambda stage: stage.planned,
        "done": lambda stage: stage.done,
        "to do": lambda stage: stage.to_do,
        "FLOPs at most": lambda stage: f"{stage.flops:.2e}",
    }
    if plan.steps_expected is not None:
        columns["FLOPs expected"] = lambda stage: f"{stage.flops_expected:.2e}"
    if rate:
        title = "GPU-hours" if rate.is_of_gpu else "hours of one worker"
        columns[title] = lambda stage: _hours(stage.hours)
    if total.money is not None:
        columns["money"] = lambda stage: f"{stage.money:,.2f}"
    yield table(columns, plan.stages, totals=[str(cell(total)) for cell in columns.values()])
    yield (
        f"To invert: {total.images:,} images. To store: {decimal(int(total.image_bytes))} of "
        f"inverted images and {decimal(int(total.checkpoint_bytes))} of checkpoints; other tables "
        "are small."
    )
    if plan.steps_expected is None:
        yield (
            "An inversion ends before its last step where it converges: no earlier run of this "
            "lake tells when, so hours are those of all steps."
        )
    else:
        yield (
            f"Expected: {plan.steps_expected:.0f} steps per inversion, as in earlier runs of this "
            "lake; hours are of these."
        )
    yield _rate(rate)
    if plan.price_per_gpu_hour is not None and not (rate and rate.is_of_gpu):
        yield "Money: needs GPU-hours; give the rate of a GPU, e.g. `--flops-per-s 60e12`."


def _hours(hours: float) -> str:
    time, unit = timed(hours)
    return time if unit == "h" else f"{time} {unit}"


def _rate(rate: Throughput | None) -> str:
    if rate is None:
        return (
            "GPU-hours: no rate is known; give one, e.g. `--flops-per-s 60e12`, or run a part of "
            "the job, which measures it."
        )
    if rate.device:
        return f"Hours at {rate.flops_per_s:.2e} FLOP/s, as on {rate.device} in the last run."
    return f"Hours at {rate.flops_per_s:.2e} FLOP/s, as given."
