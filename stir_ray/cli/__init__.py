"""The command line: each verb loads jobs, calls a function and shows the value it returns.

Modules that import torch, ray, pandas or the charts are imported by the verbs that need them.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from stir_ray.cli.compute import (
    finetune,
    import_data,
    plan,
    reduce,
    retry,
    robustness,
    run,
    schema,
)
from stir_ray.cli.maintenance import explain, failures, gc, status, verify
from stir_ray.cli.results import analyse, report, sql
from stir_ray.cli.submit import submit
from stir_ray.worker.logs import begin_logging
from workflows.entrypoint import interrupt_on_sigterm, one_line


class Verbs(TyperGroup):
    """End every verb with one line and an exit code for each error of ours."""

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the chosen verb."""
        with one_line():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What finetuning does to a vision transformer's invariances.",
)
for verb in (
    *(run, submit, plan, status, failures, retry, explain, finetune, robustness),
    *(reduce, report, sql, analyse, verify, gc, import_data, schema),
):
    app.command()(verb)


def main() -> None:
    """Run the command line of this process."""
    interrupt_on_sigterm()
    begin_logging()
    app()
