"""The command tree and the one place where errors become messages and exit codes.

Exit codes: 0 done; 1 the check ran and the answer is no; 2 could not do it; 130 interrupted. On a
device `fleet install` and `fleet commit` have codes of their own (:mod:`fleet.cli.device`).
"""

import os
import sys
from typing import Annotated

import typer
from rich.text import Text

from fleet.cli import device, options, rollout
from fleet.cli.audit import commands
from fleet.cli.bundle import inspect, package, verify
from fleet.cli.demo import demo
from fleet.cli.doctor import doctor
from fleet.cli.output import careful_streams, error_console
from fleet.cli.plan import plan
from fleet.cli.predict import predict
from fleet.cli.profiles import app as profiles_app
from fleet.cli.report import compare, report
from fleet.cli.reproduce import reproduce
from fleet.cli.rotate import rotate
from fleet.cli.runs import runs
from fleet.cli.train import train
from fleet.errors import FleetError, is_out_of_memory, out_of_memory

EPILOG = (
    "Exit codes: 0 done; 1 the check ran and the answer is no; 2 could not do it; 130 interrupted."
)

INTERRUPTED = 130

app = typer.Typer(
    name="fleet",
    help="Train, audit and package a family of interval-label image classifiers.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command(rich_help_panel=options.BUILD)(train)
app.command(rich_help_panel=options.BUILD)(package)
app.command(rich_help_panel=options.BUILD)(rotate)
app.command(rich_help_panel=options.BUILD)(demo)
app.add_typer(commands(), name="audit", rich_help_panel=options.EVALUATE)
app.command(rich_help_panel=options.EVALUATE)(report)
app.command(rich_help_panel=options.EVALUATE)(compare)
app.command(rich_help_panel=options.EVALUATE)(reproduce)
app.command(rich_help_panel=options.ON_DEVICE)(verify)
app.command(rich_help_panel=options.ON_DEVICE)(predict)
app.add_typer(device.app, name="device", rich_help_panel=options.ON_DEVICE)
app.command(rich_help_panel=options.ON_DEVICE)(device.install)
app.command(rich_help_panel=options.ON_DEVICE)(device.commit)
app.command(rich_help_panel=options.ON_DEVICE)(device.rollback)
app.add_typer(rollout.keys_app, name="keys", rich_help_panel=options.ROLL_OUT)
app.command(rich_help_panel=options.ROLL_OUT)(rollout.enroll)
app.command(rich_help_panel=options.ROLL_OUT)(rollout.publish)
app.add_typer(rollout.rollout_app, name="rollout", rich_help_panel=options.ROLL_OUT)
app.add_typer(rollout.repo_app, name="repo", rich_help_panel=options.ROLL_OUT)
app.add_typer(rollout.media_app, name="media", rich_help_panel=options.ROLL_OUT)
profiles_app.command()(plan)
app.add_typer(profiles_app, name="profiles", rich_help_panel=options.INSPECT)
app.command(rich_help_panel=options.INSPECT)(runs)
app.command(rich_help_panel=options.INSPECT)(inspect)
app.command(rich_help_panel=options.INSPECT)(doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        from fleet.provenance import fleet_version

        typer.echo(f"fleet {fleet_version()}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; never returns."""
    with careful_streams():
        _run()


def _run() -> None:
    try:
        app()
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
        raise error
    console = error_console()
    console.print(Text("error: ", style="bold red") + Text(message), soft_wrap=True)
    if hint:
        console.print(Text("hint:  ", style="bold") + Text(hint), soft_wrap=True)
    sys.exit(getattr(error, "exit_code", 2))
