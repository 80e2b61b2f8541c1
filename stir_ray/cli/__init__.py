"""The command line: each verb loads jobs, calls a function and shows the value it returns.

Modules that import torch, ray, pandas or the charts are imported by the verbs that need them.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from stir_ray.cli import job_verbs, lake_verbs
from stir_ray.worker.logs import begin_logging
from workflows.runtime import exit_on_error, interrupt_on_sigterm


class _Verbs(TyperGroup):
    # Ends every verb with one line and an exit code for each error of ours.
    def invoke(self, ctx: typer.Context) -> Any:
        with exit_on_error():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What finetuning does to a vision transformer's invariances.",
)
for verb in (
    *(job_verbs.run, job_verbs.submit, job_verbs.plan, lake_verbs.status, lake_verbs.failures),
    *(job_verbs.retry, lake_verbs.explain, job_verbs.finetune, job_verbs.robustness),
    *(job_verbs.reduce, job_verbs.report, lake_verbs.sql, job_verbs.analyse, lake_verbs.verify),
    *(lake_verbs.gc, lake_verbs.import_data, job_verbs.schema),
):
    app.command()(verb)


def main() -> None:
    """Run the command line of this process."""
    interrupt_on_sigterm()
    begin_logging()
    app()
