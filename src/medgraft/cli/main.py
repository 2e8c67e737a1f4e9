"""`medgraft`: its commands, and how errors and interruptions end."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from medgraft.cli.adapt import adapt
from medgraft.cli.benchmark import benchmark
from medgraft.cli.check import check
from medgraft.cli.demo import demo
from medgraft.cli.evaluate import evaluate
from medgraft.cli.methods import methods
from medgraft.cli.predict import predict
from medgraft.cli.pretrain import pretrain
from medgraft.cli.rank import rank
from medgraft.cli.report import report
from medgraft.cli.skin_tone import skin_tone
from medgraft.cli.stains import stains
from medgraft.errors import MedgraftError

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""What typer raises for words that it does not understand; it has no public name in all versions."""
USER_ERROR = 2
INTERRUPTED = 130


class Commands(TyperGroup):
    """Ends what the user can mend with one sentence instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; exit 2 on an error the user can mend, 75 where a run was stopped, 130 on Ctrl-C."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            typer.echo(f"medgraft: {_one_sentence(error)}", err=True)
            raise typer.Exit(USER_ERROR) from error
        except (MedgraftError, OSError) as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            typer.echo(f"medgraft: {_told(error)}", err=True)
            raise typer.Exit(getattr(error, "exit_code", USER_ERROR)) from error
        except KeyboardInterrupt as error:
            typer.echo("medgraft: interrupted; what was written is whole.", err=True)
            raise typer.Exit(INTERRUPTED) from error


def _one_sentence(error: Any) -> str:
    """What was wrong with the words of the command line, and where to look."""
    where = error.ctx.command_path if error.ctx is not None else "medgraft"
    message = error.format_message()
    return f"{message}{'' if message.endswith(('.', '?')) else '.'} `{where} --help` shows what there is."


def _told(error: MedgraftError | OSError) -> str:
    if isinstance(error, MedgraftError):
        return str(error)
    place = error.filename or "a file"
    return f"The system cannot read or write {place}: {error.strerror or error}. Check path, rights and free space."


app = typer.Typer(
    cls=Commands,
    help="Graft a pre-trained model onto a new medical-imaging site, and prove whether it took.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"medgraft {version('medgraft')}")
        raise typer.Exit


@app.callback()
def main_options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show log messages, and tracebacks of errors.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version.")
    ] = False,
) -> None:
    """Set up what all commands share."""
    if debug:
        import logging

        logging.basicConfig(level=logging.INFO)


for command in (
    *(demo, check, rank, pretrain, adapt, predict, evaluate, benchmark, report, methods),
    *(skin_tone, stains),
):
    app.command()(command)


def main() -> None:
    """Entry point of the `medgraft` command."""
    app(prog_name="medgraft")


if __name__ == "__main__":
    main()
