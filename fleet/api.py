"""What ``import fleet`` offers beyond its parts: audits of runs and of models in memory, by path.

Nothing here is used by the other parts of the house but the command line.
"""

import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from fleet.audit.certify.audit import audit_certify as certify_members
from fleet.audit.coalition.audit import audit_coalition as coalition_members
from fleet.audit.core.kind import KINDS, keep, load, usual_radii
from fleet.audit.core.result import AuditResult
from fleet.audit.query.audit import audit_query as query_members
from fleet.audit.trace.audit import audit_trace as trace_members
from fleet.audit.transfer.audit import audit_transfer as transfer_members
from fleet.audit.whitebox.audit import audit_whitebox as whitebox_members
from fleet.execution import LOCAL, Executor
from fleet.profiles.spec import read_family
from fleet.reports.report import read_audit
from fleet.rundir import AUDIT_FILE, RunDirectory, RunLike, open_run

P = ParamSpec("P")
R_co = TypeVar("R_co", bound=AuditResult, covariant=True)

_OF_A_RUN = """

    Or of a run: ``audit_{kind}(run, settings=None, *, eps=None, images={images}, executor=...,
    split="test", save=True, ...)``. ``run`` is a directory or a :class:`RunDirectory`. Without
    ``settings`` these are made of ``eps`` (one radius or several; None for those that fit the
    images) and of what else is given, for example ``seed``. The result is written to
    ``audits/{kind}/{file}`` of the run unless ``save`` is False.
"""


class Audit(Protocol[P, R_co]):
    """An audit of devices in memory, or with a run in their place of that run."""

    @overload
    def __call__(
        self,
        run: RunLike,
        settings: Any = None,
        *,
        eps: float | Sequence[float] | None = None,
        images: int | None = None,
        executor: Executor = LOCAL,
        split: Literal["test", "validation"] = "test",
        save: bool = True,
        **effort: Any,
    ) -> R_co: ...

    @overload
    def __call__(self, *members: P.args, **options: P.kwargs) -> R_co: ...


def _also_of_runs(kind: str, memory: Callable[P, R_co]) -> Audit[P, R_co]:
    @wraps(memory)
    def audit(*arguments: Any, **options: Any) -> AuditResult:
        if arguments and isinstance(arguments[0], (str, os.PathLike, RunDirectory)):
            return _audit_run(kind, *arguments, **options)
        return memory(*arguments, **options)

    audit.__name__ = audit.__qualname__ = f"audit_{kind}"
    audit.__module__ = __name__
    told = _OF_A_RUN.format(kind=kind, images=KINDS[kind].images, file=AUDIT_FILE)
    audit.__doc__ = (memory.__doc__ or "").rstrip() + told
    return cast(Audit[P, R_co], audit)


def _audit_run(
    kind: str,
    run: RunLike,
    settings: Any = None,
    *,
    eps: float | Sequence[float] | None = None,
    images: int | None = None,
    executor: Executor = LOCAL,
    split: str = "test",
    save: bool = True,
    **effort: Any,
) -> AuditResult:
    found, how = open_run(run), KINDS[kind]
    if settings is None:
        given = (eps,) if isinstance(eps, (int, float)) else eps
        radii = given or usual_radii(how, read_family(found).data, effort.get("norm", "linf"))
        settings = load(how.settings)(eps=tuple(radii), **{"seed": 0, **effort})
        effort = {}
    result: AuditResult = load(how.run)(
        found,
        settings,
        images=how.images if images is None else images,
        executor=executor,
        split=split,
        **effort,
    )
    if save:
        keep(result, found.audit(kind))
    return result


audit_certify = _also_of_runs("certify", certify_members)
audit_coalition = _also_of_runs("coalition", coalition_members)
audit_query = _also_of_runs("query", query_members)
audit_trace = _also_of_runs("trace", trace_members)
audit_transfer = _also_of_runs("transfer", transfer_members)
audit_whitebox = _also_of_runs("whitebox", whitebox_members)


def load_audit(path: RunLike, kind: str = "transfer") -> AuditResult:
    """Read an audit.

    Args:
        path: An ``audit.json`` of any kind, or a run.
        kind: Which audit of a run.

    Raises:
        AuditError: It is absent, damaged, or of no kind that this version knows.
        CheckpointError: There is no such run.
    """
    if isinstance(path, RunDirectory) or Path(path).suffix != ".json":
        path = open_run(path).audit_file(kind)
    return read_audit(Path(path))
