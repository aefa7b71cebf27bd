"""What runs on a device: ``fleet device init|status|report|predict``, ``install``, ``commit``.

Exit codes of these commands: 0 done; 10 nothing new; 20 signature; 21 wrong device; 22 rollback;
23 expired; 30 download; 40 disk; 50 self-test failed, and the old model runs; 2 anything else.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from fleet.cli import options, predict
from fleet.cli.output import Format, Output
from fleet.files import write_text

app = typer.Typer(help="This device: its keys, its models, its reports.", no_args_is_help=True)
NOTHING_NEW = 10

HomeOption = Annotated[
    Path,
    typer.Option(
        "--home", envvar="FLEET_DEVICE_HOME", help="The device's directory; keep it private."
    ),
]
HOME = Path("/var/lib/fleet")


@app.command("init")
def device_init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As in the profile.")],
    home: HomeOption = HOME,
    trust: Annotated[Path | None, typer.Option("--trust", help="The operator's root.json.")] = None,
    form: options.Form = Format.auto,
) -> None:
    """Make this device's keys; HOME/device.json is for the operator.

    Example: fleet device init cam-01 --trust root.json
    """
    from fleet.rollout.device import init_device

    output = Output(form)
    identity = init_device(home, name, trust)
    output.data(str(home / "device.json"), identity.enrolment.to_dict())
    output.note("the private keys stay here; whoever copies them can open this device's bundles")
    output.next_command("fleet", "enroll", home / "device.json")


def install(
    source: Annotated[
        str, typer.Option("--from", metavar="URL", help="http(s)://..., or file:///media/stick.")
    ],
    home: HomeOption = HOME,
    require: Annotated[
        list[str] | None,
        typer.Option("--require", help="For example certified>=0.9@0.1; repeatable."),
    ] = None,
    form: options.Form = Format.auto,
) -> None:
    """Fetch this device's newest bundle, test it, and run it on trial.

    The model in use is not touched. Until `fleet commit`, the device goes back by itself.

    Example: fleet install --from https://updates.example.com/fleet
    """
    from fleet.rollout.device import install as fetch
    from fleet.rollout.device import open_device
    from fleet.rollout.requirements import parse_requirement

    output = Output(form)
    wanted = tuple(map(parse_requirement, require or ()))
    state = fetch(open_device(home), source, require=wanted)
    if state is None or state.pending is None:
        output.data("nothing new", {"installed": None})
        raise typer.Exit(NOTHING_NEW)
    found = state.pending
    output.data(
        f"installed release {found.release}, on trial",
        {"installed": found.release, "counter": found.counter, "slot": found.slot},
    )
    output.next_command("fleet", "commit", "--home", home)


def commit(home: HomeOption = HOME, form: options.Form = Format.auto) -> None:
    """Test the model on trial once more, and keep it; it goes back if it fails.

    Example: fleet commit
    """
    from fleet.rollout.device import commit as keep
    from fleet.rollout.device import open_device

    state = keep(open_device(home))
    release = None if state.active is None else state.active.release
    Output(form).data(f"release {release} is committed", {"release": release})


def rollback(home: HomeOption = HOME, form: options.Form = Format.auto) -> None:
    """Give the model on trial up, and run the committed one.

    Example: fleet rollback
    """
    from fleet.rollout.device import open_device
    from fleet.rollout.device import rollback as give_up

    state = give_up(open_device(home))
    release = None if state.current is None else state.current.release
    runs = "nothing runs" if release is None else f"release {release} runs"
    Output(form).data(runs, {"release": release})


@app.command("status")
def device_status(home: HomeOption = HOME, form: options.Form = Format.auto) -> None:
    """Say what runs here.

    Example: fleet device status
    """
    from dataclasses import asdict

    from fleet.rollout.device import open_device

    device = open_device(home)
    state = device.slots.state()
    runs = "nothing" if state.current is None else f"release {state.current.release}"
    trial = f", on trial ({state.tries} starts)" if state.pending is not None else ""
    error = f"\nlast failure: {state.error}" if state.error else ""
    value = {"device": device.identity.enrolment.name, **asdict(state)}
    Output(form).data(f"{device.identity.enrolment.name}: {runs}{trial}{error}", value)


@app.command("report")
def device_report(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write it.")],
    home: HomeOption = HOME,
) -> None:
    """Write this device's signed report, for `fleet rollout receive`.

    Example: fleet device report --out cam-01.report.json
    """
    from fleet.rollout.device import open_device, report

    write_text(out, json.dumps(report(open_device(home)), sort_keys=True) + "\n")
    Output(Format.auto).note(f"wrote {out}")


@app.command("predict")
def device_predict(
    images: predict.ImagesArgument = None,
    home: HomeOption = HOME,
    recursive: predict.Recursive = False,
    watch: predict.Watch = None,
    raw: predict.Raw = False,
    form: predict.FormOption = predict.PredictionFormat.auto,
) -> None:
    """Decide with the installed model; a start of a model on trial counts as one of its tries.

    Example: fleet device predict photo.png
    """
    paths = predict.list_pictures(images, recursive, watch, form)  # before a start is counted

    from fleet.rollout.device import open_device, start

    predict.write_predictions(start(open_device(home)), paths, form, watch, raw)
