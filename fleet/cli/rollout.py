"""The operator's commands: ``fleet keys|enroll|publish|repo|media|rollout``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from fleet.cli import options
from fleet.cli.output import Format, Output, table
from fleet.rundir import find_run
from fleet.vocabulary import counted

if TYPE_CHECKING:
    from fleet.rollout.depot import Depot
    from fleet.rollout.waves import Decision, Rollout

keys_app = typer.Typer(help="Signing keys of the repository.", no_args_is_help=True)
repo_app = typer.Typer(help="The signed repository.", no_args_is_help=True)
media_app = typer.Typer(help="Repositories on a stick.", no_args_is_help=True)
rollout_app = typer.Typer(help="Who gets a release, and when.", no_args_is_help=True)

DepotOption = Annotated[
    Path,
    typer.Option("--depot", envvar="FLEET_DEPOT", help="The operator's private directory."),
]
ReleaseArgument = Annotated[
    str | None,
    typer.Argument(metavar="RELEASE", help="By default the rollout that is on its way."),
]


@keys_app.command("init")
def keys_init(depot: DepotOption = Path("depot"), form: options.Form = Format.auto) -> None:
    """Make the signing keys and an empty repository.

    Copy DEPOT/root.json to every device; keep DEPOT/keys/root.pem and targets.pem offline.

    Example: fleet keys init
    """
    from fleet.rollout.operations import init_depot

    output = Output(form)
    trust = init_depot(_depot(depot))
    output.data(f"wrote {trust}: every device has to trust it", {"root": str(trust)})
    output.note(f"the keys are in {depot / 'keys'}: back them up, and move root.pem offline")
    output.next_command("fleet", "enroll", "device.json", "--depot", depot)


@keys_app.command("rotate")
def keys_rotate(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="root, targets, ...")],
    depot: DepotOption = Path("depot"),
) -> None:
    """Replace a signing key; devices follow by themselves.

    Example: fleet keys rotate timestamp
    """
    from fleet.rollout.keys import ROLES
    from fleet.rollout.operations import open_repository

    if role not in ROLES:
        raise typer.BadParameter(f"{role!r} is none of {', '.join(ROLES)}", param_hint="ROLE")
    found = _depot(depot)
    with found.writing():
        open_repository(found).rotate(role)
        found.note("rotate", role=role)
    Output(Format.auto).note(f"rotated {role}; destroy {depot / 'keys' / role}.pem.old")


def enroll(
    enrolments: Annotated[
        list[Path], typer.Argument(metavar="DEVICE_JSON", help="HOME/device.json of a device.")
    ],
    depot: DepotOption = Path("depot"),
    form: options.Form = Format.auto,
) -> None:
    """Take devices' public keys into the depot.

    Example: fleet enroll cam-01.json cam-02.json
    """
    from fleet.rollout.keys import read_enrolment

    output, found = Output(form), _depot(depot)
    devices = [read_enrolment(path) for path in enrolments]
    with found.writing():
        for device in devices:
            found.enrol(device)
    value = {"enrolled": [{"device": device.name, "id": device.id} for device in devices]}
    output.data(_table("enrolled", ("device", "id"), value["enrolled"]), value)
    output.next_command("fleet", "package", "--depot", depot)


def publish(
    bundles: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE", help="Sealed bundles, or directories of them.")
    ],
    release: Annotated[
        str | None,
        typer.Option("--release", "-r", help="Of directories: only the bundles of this release."),
    ] = None,
    depot: DepotOption = Path("depot"),
    form: options.Form = Format.auto,
) -> None:
    """Put the bundles of one release into the repository; no device sees them before a wave.

    Example: fleet publish runs/RUN/bundles --release 2026.11.1
    """
    from fleet.rollout.operations import publish as put

    output = Output(form)
    published = put(_depot(depot), options.bundles_in(bundles, release))
    rows = [entry.to_dict() for entry in published]
    output.data(
        _table("published", ("device", "release", "counter", "file"), rows), {"bundles": rows}
    )
    shown = published[0].assignment.release
    output.next_command("fleet", "rollout", "start", shown, "--depot", depot)


@repo_app.command("refresh")
def repo_refresh(depot: DepotOption = Path("depot"), form: options.Form = Format.auto) -> None:
    """Sign the timestamp anew; run it daily, devices refuse one older than seven days.

    Example: fleet repo refresh
    """
    from fleet.rollout.operations import open_repository

    output, found = Output(form), _depot(depot)
    with found.writing():
        repository = open_repository(found)
        repository.refresh()
    expiries = {role: when.isoformat() for role, when in repository.expiries().items()}
    lines = "\n".join(f"{role:<10} expires {when}" for role, when in expiries.items())
    output.data(lines, {"expires": expiries})


@media_app.command("export")
def media_export(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="For example a mounted stick.")],
    device: Annotated[list[str] | None, typer.Option("--device", "-d", help="Only these.")] = None,
    depot: DepotOption = Path("depot"),
) -> None:
    """Copy the repository to a stick; devices install from file://DIR.

    Example: fleet media export /media/stick
    """
    from fleet.rollout.operations import export_media

    count = export_media(_depot(depot), target, device or ())
    output = Output(Format.auto)
    output.note(f"wrote {counted(count, 'bundle')} to {target}")
    output.next_command("fleet", "install", "--from", target.resolve().as_uri())


@rollout_app.command("start")
def rollout_start(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="A published release.")],
    waves: Annotated[
        str, typer.Option("--waves", help="Shares of the fleet, after an optional canary.")
    ] = "canary,10%,50%,100%",
    canary: Annotated[
        list[str] | None, typer.Option("--canary", help="Device of the first wave; repeatable.")
    ] = None,
    min_success: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of a wave that has to commit.")
    ] = 0.95,
    max_failures: Annotated[int, typer.Option(min=0, help="Most failed devices.")] = 1,
    max_failure_share: Annotated[
        float, typer.Option(min=0, max=1, help="Most failed devices, as a share of the exposed.")
    ] = 0.05,
    min_reports: Annotated[
        int, typer.Option(min=1, help="Least number of reports about a wave.")
    ] = 1,
    bake: Annotated[float, typer.Option(min=0, help="Hours that a wave has to last.")] = 24.0,
    max_transfer: Annotated[
        float | None, typer.Option(min=0, max=1, help="Largest audited transfer rate.")
    ] = None,
    depot: DepotOption = Path("depot"),
    dry_run: options.DryRun = False,
    form: options.Form = Format.auto,
) -> None:
    """Show a release to its first wave; who is in which wave is fixed now.

    Example: fleet rollout start 2026.11.1 --waves canary,10%,50%,100%
    """
    from fleet.rollout.operations import plan_rollout, start_rollout
    from fleet.rollout.waves import Policy

    output, found = Output(form), _depot(depot)
    policy = Policy(
        min_success, max_failures, max_failure_share, min_reports, int(bake * 3600), max_transfer
    )
    rollout = plan_rollout(found, release, waves, policy, canary or ())
    if not dry_run:
        rollout = start_rollout(found, rollout)
    _show(output, rollout)
    if not dry_run:
        output.next_command("fleet", "rollout", "status", "--depot", depot)


@rollout_app.command("receive")
def rollout_receive(
    reports: Annotated[
        list[Path], typer.Argument(metavar="REPORT", help="From `fleet device report`.")
    ],
    depot: DepotOption = Path("depot"),
    form: options.Form = Format.auto,
) -> None:
    """Take devices' signed reports; replayed and forged ones are refused.

    Example: fleet rollout receive cam-01.report.json
    """
    from fleet.rollout.reports import receive

    output, found = Output(form), _depot(depot)
    columns, rows = ("device", "release", "status", "failed"), []
    with found.writing():
        for path in reports:
            name, report = receive(found, path)
            values = (name, report.release, report.status, report.failed)
            rows.append(dict(zip(columns, values, strict=True)))
            if report.error is not None:
                output.note(f"{name} says: {report.error}")
    output.data(_table("received", columns, rows), {"reports": rows})


@rollout_app.command("status")
def rollout_status(
    release: ReleaseArgument = None,
    depot: DepotOption = Path("depot"),
    form: options.Form = Format.auto,
) -> None:
    """Say how far a rollout is, and what keeps the next wave back.

    Example: fleet rollout status
    """
    from fleet.rollout.operations import judge, load_rollout

    output, found = Output(form), _depot(depot)
    rollout = load_rollout(found, release)
    decision = judge(found, rollout)
    _show(output, rollout, decision)
    if rollout.phase in ("running", "paused"):
        _say_why_not(output, decision)


@rollout_app.command("advance")
def rollout_advance(
    release: ReleaseArgument = None,
    depot: DepotOption = Path("depot"),
    form: options.Form = Format.auto,
) -> None:
    """Show the release to the next wave; exit code 1, with every reason, if the gate says no.

    Example: fleet rollout advance
    """
    from fleet.rollout.operations import advance, judge, load_rollout

    output, found = Output(form), _depot(depot)
    rollout = load_rollout(found, release)
    decision = judge(found, rollout)
    if not decision.go:
        _show(output, rollout, decision)
        _say_why_not(output, decision)
        raise typer.Exit(1)
    _show(output, advance(found, rollout))


@rollout_app.command("pause")
def rollout_pause(release: ReleaseArgument = None, depot: DepotOption = Path("depot")) -> None:
    """Keep the next wave back until `resume`.

    Example: fleet rollout pause
    """
    _set_phase(depot, release, "paused")


@rollout_app.command("resume")
def rollout_resume(release: ReleaseArgument = None, depot: DepotOption = Path("depot")) -> None:
    """Go on after `pause`.

    Example: fleet rollout resume
    """
    _set_phase(depot, release, "running")


@rollout_app.command("cancel")
def rollout_cancel(release: ReleaseArgument = None, depot: DepotOption = Path("depot")) -> None:
    """End a rollout; devices that have the release keep it.

    Example: fleet rollout cancel
    """
    _set_phase(depot, release, "cancelled")


@rollout_app.command("rollback")
def rollout_rollback(release: ReleaseArgument = None, depot: DepotOption = Path("depot")) -> None:
    """Give every device of a rollout the release that it had before.

    Example: fleet rollout rollback 2026.11.1
    """
    from fleet.rollout.operations import load_rollout, take_back

    found = _depot(depot)
    names = take_back(found, load_rollout(found, release))
    devices = counted(len(names), "device")
    Output(Format.auto).note(f"previous release again for {devices}: {', '.join(names)}")


@rollout_app.command("revoke")
def rollout_revoke(
    name: Annotated[str, typer.Argument(metavar="DEVICE", help="Name of the device.")],
    depot: DepotOption = Path("depot"),
) -> None:
    """Take a device off: it gets no bundle any more, and its reports count for nothing.

    Example: fleet rollout revoke cam-02
    """
    from fleet.rollout.operations import revoke

    revoked = revoke(_depot(depot), name)
    Output(Format.auto).note(f"revoked {name} (id {revoked.id}); its target is gone")


@rollout_app.command("compromised")
def rollout_compromised(
    name: Annotated[str, typer.Argument(metavar="DEVICE", help="The extracted device.")],
    audit: Annotated[
        Path | None, typer.Option(help="Transfer audit; that of the newest run by default.")
    ] = None,
    eps: Annotated[float | None, typer.Option(help="Which eps; the largest by default.")] = None,
    max_transfer: Annotated[
        float, typer.Option(min=0, max=1, help="A device above this transfer rate is exposed.")
    ] = 0.05,
    runs: Annotated[Path, typer.Option("--runs", help="Where runs are kept.")] = Path("runs"),
    form: options.Form = Format.auto,
) -> None:
    """Say what an extracted device gives against the others, and in which order to replace them.

    Example: fleet rollout compromised cam-04
    """
    from fleet.audit.core.result import mean_rate
    from fleet.rollout.operations import exposures

    output = Output(form)
    path = audit if audit is not None else find_run(None, runs).audit_file("transfer")
    found, others = exposures(path, name, eps)
    rows = [{"device": e.device, "n": e.n, "evade": round(e.evade, 4)} for e in others]
    exposed = [e.device for e in others if e.evade > max_transfer]
    mean = mean_rate(e.evade for e in others) or 0.0
    share = len(exposed) / len(others) if others else 0.0
    plan = [
        f"revoke {name}: it gets no bundle any more, and its reports count for nothing",
        f"re-key, in this order: {', '.join([name, *exposed])}: `fleet rotate` gives each another "
        "order and seed, and trains it again",
        "audit, package with --floor above the old counter, publish, and roll out",
    ]
    verdict = (
        f"{len(exposed)} of {len(others)} other devices ({share:.0%}) are exposed to images made "
        f"on {name}: they evade more than {max_transfer:g} of what the device gets right, at eps "
        f"{found:.4g}; mean evade {mean:.3f}"
    )
    output.data(
        Group(verdict, _table("", ("device", "n", "evade"), rows)),
        {
            "device": name,
            "eps": found,
            "mean_evade": mean,
            "exposed": exposed,
            "exposed_share": share,
            "devices": rows,
            "plan": plan,
        },
    )
    for number, step in enumerate(plan, 1):
        output.note(f"{number}. {step}")
    output.next_command("fleet", "rollout", "revoke", name)
    output.next_command("fleet", "rotate", name)


def _depot(path: Path) -> Depot:
    from fleet.rollout.depot import Depot

    return Depot(path)


def _set_phase(path: Path, release: str | None, phase: str) -> None:
    from fleet.rollout.operations import load_rollout, set_phase

    depot = _depot(path)
    rollout = set_phase(depot, load_rollout(depot, release), phase)
    Output(Format.auto).note(f"the rollout of {rollout.release} is {rollout.phase}")


def _say_why_not(output: Output, decision: Decision) -> None:
    for reason in decision.reasons:
        output.note(f"not yet: {reason}")


def _show(output: Output, rollout: Rollout, decision: Decision | None = None) -> None:
    states = dict.fromkeys(decision.committed, "committed") if decision else {}
    states |= dict.fromkeys(decision.failed, "failed") if decision else {}
    rows = []
    for number, wave in enumerate(rollout.waves, 1):
        shown = "yes" if number <= rollout.exposed else "no"
        counts = {
            state: sum(states.get(name) == state for name in wave)
            for state in ("committed", "failed")
        }
        first = ", ".join(wave[:4]) + (", ..." if len(wave) > 4 else "")
        rows.append(
            {"wave": number, "devices": len(wave), "sees it": shown, **counts, "who": first}
        )
    title = f"release {rollout.release}: {rollout.phase}, wave {rollout.exposed}"
    value: dict[str, Any] = rollout.to_dict()
    if decision is not None:
        value["decision"] = vars(decision)
    output.data(_table(title, tuple(rows[0]) if rows else (), rows), value)


def _table(title: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> Table:
    return table(
        title,
        columns,
        (["-" if row[name] is None else str(row[name]) for name in columns] for row in rows),
    )
