"""Values in words, short enough for one line."""

from collections.abc import Iterable, Sequence


def spelled(values: Iterable[int] | Iterable[str]) -> str:
    """Distinct values in order; three or more numbers in a row as `1-12`."""
    runs: list[list] = []
    for value in sorted(set(values)):
        if runs and isinstance(value, int) and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(str(number) for number in run)
        for run in runs
    )


def pluralize(count: int, what: str) -> str:
    """A number of things."""
    return f"{count} {what}{'s' if count != 1 else ''}"


def timed(hours: float) -> tuple[str, str]:
    """A time given in hours, and its unit: `h`, or `min` of what is less than a tenth of one."""
    if 0 < hours < 0.1:
        return f"{60 * hours:.2g}", "min"
    return (f"{hours:.3g}" if hours < 100 else f"{hours:,.0f}"), "h"


def format_list(names: Sequence[str], most: int = 5) -> str:
    """Names one after the other, and how many more there are than one wants to read."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
