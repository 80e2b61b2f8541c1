"""Plans as tables for a terminal, and as JSON for scripts."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group
from rich.filesize import decimal
from rich.table import Table

from stir_ray.catalog.forecast import Forecast, StageForecast
from stir_ray.plan.estimate import Rate
from stir_ray.plan.formatting import timed


@dataclass(frozen=True)
class Terms:
    """At what a plan is priced.

    Attributes:
        rate: of one device; None if it is not known.
        price_per_gpu_hour: in any currency; None leaves money out.
    """

    rate: Rate | None = None
    price_per_gpu_hour: float | None = None

    def hours(self, stage: StageForecast) -> float | None:
        """Of one device, as expected; None at an unknown rate."""
        return self.rate.hours(stage.stage, stage.expected.flops) if self.rate else None

    def gpu_hours(self, stage: StageForecast) -> float | None:
        """The same, None where the rate is that of a CPU."""
        return self.hours(stage) if self.rate and self.rate.is_of_gpu else None

    def money(self, stage: StageForecast) -> float | None:
        """What its GPU-hours cost; None at an unknown price or rate."""
        hours, price = self.gpu_hours(stage), self.price_per_gpu_hour
        return None if hours is None or price is None else hours * price


def plan_table(forecast: Forecast, terms: Terms) -> Group:
    """Tasks, operations, hours and money by stage, bytes, and what they rest on."""
    return Group(_stages(forecast, terms), _bytes(forecast), *_notes(forecast, terms))


def plan_json(forecast: Forecast, terms: Terms) -> str:
    """The same as JSON: numbers are numbers, and null is what is not known.

    - `stages`: a list of `stage`, `planned`, `done`, `to_do`, `flops` (if every inversion takes all
      its steps), `flops_expected` (if it takes `steps_expected`), `hours` (of one device at `rate`,
      as expected), `gpu_hours` (null if that is a CPU), `money`, `images` (that are inverted),
      `image_bytes` (of those that are kept) and `checkpoint_bytes`; all but the first three are of
      what is to do.
    - `steps_expected`: of an inversion, as earlier runs of the lake took on average; null if none
      tells, and then all of them are.
    - `total`: the same keys but `stage`.
    - `rate`: null, or `source` (`given` or `measured`), `device`, `runs`, `flops_per_s` (overall)
      and `by_stage`.
    - `price_per_gpu_hour`.
    """
    said = {
        "stages": [{"stage": one.stage} | _numbers(one, terms) for one in forecast.stages],
        "total": _total(forecast, terms),
        "steps_expected": forecast.steps,
        "rate": _rate(terms.rate) if terms.rate else None,
        "price_per_gpu_hour": terms.price_per_gpu_hour,
    }
    return json.dumps(said, indent=2)


def _numbers(stage: StageForecast, terms: Terms) -> dict[str, Any]:
    return {
        "planned": stage.planned,
        "done": stage.done,
        "to_do": stage.planned - stage.done,
        "flops": stage.left.flops,
        "flops_expected": stage.expected.flops,
        "hours": terms.hours(stage),
        "gpu_hours": terms.gpu_hours(stage),
        "money": terms.money(stage),
        "images": stage.left.images,
        "image_bytes": stage.left.image_bytes,
        "checkpoint_bytes": stage.left.checkpoint_bytes,
    }


def _total(forecast: Forecast, terms: Terms) -> dict[str, Any]:
    every = [_numbers(stage, terms) for stage in forecast.stages]

    def total(name: str) -> Any:
        values = [one[name] for one in every]
        return None if None in values else sum(values)

    return {name: total(name) for name in every[0]}


def _rate(rate: Rate) -> dict[str, Any]:
    said = asdict(rate)
    return {
        "source": "measured" if rate.runs else "given",
        "device": rate.device or None,
        "runs": rate.runs,
        "flops_per_s": said["overall"],
        "by_stage": said["by_stage"],
    }


def _stages(forecast: Forecast, terms: Terms) -> Table:
    table, total = Table(show_footer=True), _total(forecast, terms)
    table.add_column("stage", footer="all")
    columns = {"planned": "tasks", "done": "done", "to_do": "to do", "flops": "FLOPs at most"}
    if forecast.steps is not None:
        columns["flops_expected"] = "FLOPs expected"
    if terms.rate:
        columns["hours"] = "GPU-hours" if terms.rate.is_of_gpu else "hours of one worker"
    if total["money"] is not None:
        columns["money"] = "money"
    for name, title in columns.items():
        table.add_column(title, justify="right", footer=_spelled(name, total[name]))
    for stage in forecast.stages:
        numbers = _numbers(stage, terms)
        table.add_row(stage.stage, *(_spelled(name, numbers[name]) for name in columns))
    return table


def _spelled(name: str, value: float) -> str:
    match name:
        case "flops" | "flops_expected":
            return f"{value:.2e}"
        case "hours":
            time, unit = timed(value)
            return time if unit == "h" else f"{time} {unit}"
        case "money":
            return f"{value:,.2f}"
        case _:
            return str(value)


def _bytes(forecast: Forecast) -> str:
    left = forecast.left
    return (
        f"To invert: {left.images:,} images. To store: {decimal(int(left.image_bytes))} of "
        f"inverted images and {decimal(int(left.checkpoint_bytes))} of checkpoints; "
        "other tables are small."
    )


def _notes(forecast: Forecast, terms: Terms) -> Iterator[str]:
    if forecast.steps is None:
        yield (
            "An inversion ends before its last step where it converges: no earlier run of this "
            "lake tells when, so hours are those of all steps."
        )
    else:
        yield (
            f"Expected: {forecast.steps:.0f} steps per inversion, as in earlier runs of this lake; "
            "hours are of these."
        )
    yield from _of_rate(terms)


def _of_rate(terms: Terms) -> Iterator[str]:
    rate = terms.rate
    if rate is None:
        yield (
            "GPU-hours: no rate is known; give one, e.g. `--flops-per-s 60e12`, or run a part of "
            "the job, which measures it."
        )
    elif rate.runs:
        stages = ", ".join(f"{stage} {value:.2e}" for stage, value in rate.by_stage.items())
        runs = f"{rate.runs} run{'s'[: rate.runs > 1]}"
        yield f"Hours at the FLOP/s measured on {rate.device} in {runs} of this lake: {stages}."
    else:
        yield f"Hours at {rate.overall:.2e} FLOP/s, as given."
    if terms.price_per_gpu_hour is not None and not (rate and rate.is_of_gpu):
        yield "Money: needs GPU-hours; give the rate of a GPU, e.g. `--flops-per-s 60e12`."
