"""The command tree and the one place where errors become messages and exit codes.

Exit codes: 0 done; 1 the check ran and the answer is no; 2 could not do it; 130 interrupted. On a
device `fleet install` and `fleet commit` have codes of their own (:mod:`fleet.cli.device`).
"""

import os
import sys
import traceback
from functools import cache
from importlib import import_module
from inspect import getdoc
from typing import Annotated

import typer
from rich.text import Text

from fleet.cli import options
from fleet.cli.output import QUIET, careful_streams, error_console
from fleet.errors import FleetError, is_out_of_memory, out_of_memory

EPILOG = (
    "Exit codes: 0 done; 1 the check ran and the answer is no; 2 could not do it; 130 interrupted."
)

INTERRUPTED = 130

PANELS = {
    options.BUILD: {
        "train": "train:train",
        "package": "bundle:package",
        "rotate": "rotate:rotate",
        "demo": "demo:demo",
    },
    options.EVALUATE: {
        "audit": "audit:commands",
        "report": "report:report",
        "compare": "report:compare",
        "reproduce": "reproduce:reproduce",
    },
    options.ON_DEVICE: {
        "verify": "bundle:verify",
        "predict": "predict:predict",
        "device": "device:app",
        "install": "device:install",
        "commit": "device:commit",
        "rollback": "device:rollback",
    },
    options.ROLL_OUT: {
        "keys": "rollout:keys_app",
        "enroll": "rollout:enroll",
        "publish": "rollout:publish",
        "rollout": "rollout:rollout_app",
        "repo": "rollout:repo_app",
        "media": "rollout:media_app",
    },
    options.INSPECT: {
        "profiles": "plan:app",
        "runs": "runs:runs",
        "inspect": "bundle:inspect",
        "doctor": "doctor:doctor",
    },
}
"""Where each command is, below ``fleet.cli``: a command needs no other one's imports."""


@cache
def command_line(only: str | None = None) -> typer.Typer:
    """Build the command tree.

    Args:
        only: The one command that is wanted, for a quick start; all if it is none of them.
    """
    app = typer.Typer(
        name="fleet",
        help="Train, audit and package a family of interval-label image classifiers.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    wanted = {only} if any(only in names for names in PANELS.values()) else None
    for panel, places in PANELS.items():
        for name, place in places.items():
            if wanted is None or name in wanted:
                _add(app, name, place, panel)
    return app


def _add(app: typer.Typer, name: str, place: str, panel: str) -> None:
    module, _, attribute = place.partition(":")
    part = getattr(import_module(f"fleet.cli.{module}"), attribute)
    if name == "audit":
        part = part()  # made of the kinds that are registered
    if isinstance(part, typer.Typer):
        for command in part.registered_commands:
            command.help = _filled(command.help or getdoc(command.callback))
        app.add_typer(part, name=name, rich_help_panel=panel)
    else:
        app.command(name, help=_filled(getdoc(part)), rich_help_panel=panel)(part)


def _filled(text: str | None) -> str:
    """Each paragraph on one line: typer breaks all but the first where the source does."""
    paragraphs = (text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _show_version(wanted: bool) -> None:
    if wanted:
        from fleet.provenance import fleet_version

        typer.echo(f"fleet {fleet_version()}")
        raise typer.Exit


def _root(
    version: Annotated[  # noqa: ARG001  its callback reads it
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="Results and what went wrong only; FLEET_QUIET=1 does the same."
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Tracebacks of errors; FLEET_DEBUG=1 does the same."),
    ] = False,
) -> None:
    for wanted, name in ((quiet, QUIET), (verbose, "FLEET_DEBUG")):
        if wanted:
            os.environ[name] = "1"


def main() -> None:
    """Run the command line; never returns."""
    with careful_streams():
        _run()


def _run() -> None:
    try:
        command_line(sys.argv[1] if sys.argv[1:] else None)()
    except FleetError as error:
        _fail(error.message, error.hint, error)
    except SystemExit as done:
        if done.code == INTERRUPTED:  # Typer turns Ctrl-C into this, without a word
            error_console().print("interrupted; finished work is kept")
        raise
    except ModuleNotFoundError as error:
        hint = 'pip install "interval-fleet[train]"; `fleet doctor` looks closer'
        _fail(f"this command needs {error.name}, which is not installed", hint, error)
    except Exception as error:
        if is_out_of_memory(error):
            told = out_of_memory("the command")
            _fail(told.message, told.hint, error)
        hint = "`fleet doctor` checks this machine; FLEET_DEBUG=1 shows the traceback to report"
        _fail(f"{type(error).__name__}: {error}", hint, error)


def _fail(message: str, hint: str | None, error: BaseException) -> None:
    if os.environ.get("FLEET_DEBUG") == "1":
        traceback.print_exception(error)
    console = error_console()
    console.print(Text("error: ", style="bold red") + Text(message), soft_wrap=True)
    if hint:
        console.print(Text("hint:  ", style="bold") + Text(hint), soft_wrap=True)
    sys.exit(getattr(error, "exit_code", 2))
