"""The command line: verbs. What they work on stands in a job file."""

import signal
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from stir_ray.cli.compute import finetune, plan, reduce, report, run, schema, status
from stir_ray.cli.mend import explain, failures, gc, retry, verify
from stir_ray.errors import StirRayError

INTERRUPTED = 130


class Verbs(TyperGroup):
    """Errors of ours are one line and their own exit code, whatever the verb."""

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the verb that was asked for."""
        try:
            return super().invoke(ctx)
        except StirRayError as error:
            print(f"stir-ray: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            print("stir-ray: interrupted; run again to go on", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What finetuning does to a vision transformer's invariances.",
)
for _verb in (
    *(run, plan, status, failures, retry, explain, finetune),
    *(reduce, report, verify, gc, schema),
):
    app.command()(_verb)


def main() -> None:
    """Run a verb."""
    # A scheduler that ends a job sends SIGTERM; it stops as cleanly as Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    app()


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
