"""``fleet audit``: one command for each kind of audit, and those that are about several."""

import typer

from fleet.audit.core.kind import KINDS, load
from fleet.cli.audit.all import every
from fleet.cli.audit.crosscheck import crosscheck


def commands() -> typer.Typer:
    """Build the group of all audits that are registered."""
    app = typer.Typer(help="Find out what breaking a device is worth.", no_args_is_help=True)
    for kind in KINDS.values():
        app.command(kind.name)(load(kind.command))
    app.command()(crosscheck)
    app.command("all")(every)
    return app
