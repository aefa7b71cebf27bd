"""``fleet audit whitebox``."""

from dataclasses import replace

from fleet.cli import options
from fleet.cli.audit.conduct import conduct, find, prepare
from fleet.cli.audit.request import Request, audit_command


@audit_command("whitebox")
def whitebox(
    asked: Request,
    norm: options.Norm = options.NormChoice.linf,
    steps: options.Steps = 15,
    restarts: options.Restarts = 3,
    brief: options.Brief = False,
) -> None:
    """Attack each device with its own weights known (the paper's Tables 1 and 2).

    Both protocols at several eps, with the noise floor, the distances that minimum-norm attacks
    need, and the reliability checks that say which of the figures mean anything.

    Example: fleet audit whitebox --eps 0.1 --eps 0.2 --eps 0.3
    """
    subject = find(replace(asked, norm=norm))
    work = prepare(subject, steps=steps, restarts=restarts, norm=norm.value, brief=brief)
    conduct(work, subject)
