"""The command line: verbs. What they work on stands in a job file."""

from typing import Any

import typer
from typer.core import TyperGroup

from stir_ray.cli.analyse import analyse
from stir_ray.cli.compute import finetune, plan, reduce, robustness, run, schema, status
from stir_ray.cli.datasets import import_data
from stir_ray.cli.maintenance import explain, failures, gc, retry, verify
from stir_ray.cli.report import report
from stir_ray.cli.sql import sql
from stir_ray.cli.submit import submit
from stir_ray.worker.logs import begin_logging
from workflows.entrypoint import interrupt_on_sigterm, one_line


class Verbs(TyperGroup):
    """Errors of ours are one line and their own exit code, whatever the verb."""

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the verb that was asked for."""
        with one_line():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What finetuning does to a vision transformer's invariances.",
)
for _verb in (
    *(run, submit, plan, status, failures, retry, explain, finetune, robustness),
    *(reduce, report, sql, analyse, verify, gc, import_data, schema),
):
    app.command()(_verb)


def main() -> None:
    """Run a verb."""
    interrupt_on_sigterm()
    begin_logging()
    app()
