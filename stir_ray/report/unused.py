"""What nobody needs, as a table for a terminal."""

from collections import defaultdict
from collections.abc import Iterator

from rich.filesize import decimal
from rich.table import Table

from stir_ray.catalog.gc import GarbageReport
from stir_ray.plan.formatting import spelled


def unused_table(surplus: GarbageReport) -> Table:
    """Objects and bytes by table, and in all."""
    counts: dict[str, int] = defaultdict(int)
    sizes: dict[str, int] = defaultdict(int)
    for one in surplus.unused:
        counts[one.table] += 1
        sizes[one.table] += one.size
    table = Table(show_footer=True)
    table.add_column("unused", footer="all")
    table.add_column("objects", justify="right", footer=str(sum(counts.values())))
    table.add_column("bytes", justify="right", footer=decimal(sum(sizes.values())))
    for name, count in counts.items():
        table.add_row(name, str(count), decimal(sizes[name]))
    return table


def left_alone(surplus: GarbageReport) -> Iterator[str]:
    """Why something that may be unused is not listed."""
    if surplus.young:
        yield f"{surplus.young} more are younger than an hour, and stay for now."
    for key, tables in surplus.undecided.items():
        yield (
            f"{key}: its models are not all trained, so it may need anything of "
            f"{spelled(tables)}; run it to its end, or delete this record to give it up."
        )
