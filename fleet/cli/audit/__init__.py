"""``fleet audit``: one module for each kind of audit."""

from __future__ import annotations

import typer

from fleet.cli.audit.transfer import transfer

app = typer.Typer(help="Find out what breaking a device is worth.", no_args_is_help=True)
app.command()(transfer)


@app.callback()
def _group() -> None:
    pass
