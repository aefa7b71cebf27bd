"""``fleet audit diversity``."""

from dataclasses import replace

from fleet.audit.core.kind import load
from fleet.cli import options
from fleet.cli.audit.conduct import Work, conduct, find, prepare
from fleet.cli.audit.request import Request, audit_command


@audit_command("diversity")
def diversity(
    asked: Request,
    steps: options.Steps = 15,
    restarts: options.Restarts = 3,
    brief: options.Brief = False,
) -> None:
    """Say what orders, lengths, methods and seeds bought, and whether failures are correlated.

    It takes the images of the run's transfer audit as they are. With --eps it is made as asked,
    and attacks again where that audit was made otherwise.

    Example: fleet audit diversity
    """
    from fleet.audit.diversity.audit import transfer_settings

    subject = find(asked)
    there = None if asked.eps else transfer_settings(subject.run)
    if there is None:
        work = prepare(subject, steps=steps, restarts=restarts, brief=brief)
    else:
        kind = load(asked.kind.settings)
        names = kind.__dataclass_fields__.keys() & there.keys()
        same = {name: tuple(v) if isinstance(v := there[name], list) else v for name in names}
        split = options.SplitChoice(there["split"])
        subject = replace(subject, asked=replace(subject.asked, split=split))
        work = Work(asked.kind, kind(**same), there["images"], words=("as in the transfer audit",))
    conduct(work, subject, then="profiles plan --run {run}")
