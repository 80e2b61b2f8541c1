"""What a person reads at the end."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from stir_ray.job import Job
from stir_ray.lake.layout import result_key
from stir_ray.lake.objects import Objects
from stir_ray.lake.schemas import RESULT_TABLES
from stir_ray.lake.tables import Lake
from stir_ray.plan.tasks import Task
from stir_ray.stages.compute import failed
from stir_ray.stages.reduce import Reduced


def of_tasks(ran: Mapping[str, int]) -> str:
    """How many tasks ran, by stage."""
    if not ran:
        return "No task ran: everything was in the lake."
    return "Tasks run: " + ", ".join(f"{count} {stage}" for stage, count in ran.items()) + "."


def of_results(job: Job, reduced: Reduced) -> str:
    """How complete the results are, and where."""
    objects = Objects(job.lake)
    lines = [
        f"{reduced.present} of {reduced.cells} cells have a number.",
        *(f"  {objects.location(result_key(job.name, schema.name))}" for schema in RESULT_TABLES),
    ]
    return "\n".join(lines)


def of_failures(tasks: Iterable[Task], lake: Lake) -> Iterator[str]:
    """Failures of tasks that are not done, grouped by class and fingerprint, with an example."""
    groups: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], str] = defaultdict(str)
    for record in failed(tasks, lake):
        kind = record["failure_class"], record["fingerprint"]
        groups[kind] += 1
        example[kind] = f"{record['label']}: {record['message']}"
    for kind, count in groups.most_common():
        yield f"{count} failed, {kind[0]} ({kind[1]}), e.g. {example[kind]}"
