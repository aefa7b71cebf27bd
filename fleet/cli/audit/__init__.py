"""``fleet audit``: one module for each kind of audit."""

from __future__ import annotations

import typer

from fleet.cli.audit.coalition import coalition
from fleet.cli.audit.crosscheck import crosscheck
from fleet.cli.audit.every import every
from fleet.cli.audit.query import query
from fleet.cli.audit.trace import trace
from fleet.cli.audit.transfer import transfer
from fleet.cli.audit.whitebox import whitebox

app = typer.Typer(help="Find out what breaking a device is worth.", no_args_is_help=True)
app.command()(whitebox)
app.command()(transfer)
app.command()(coalition)
app.command()(query)
app.command()(trace)
app.command()(crosscheck)
app.command("all")(every)


@app.callback()
def _group() -> None:
    pass
