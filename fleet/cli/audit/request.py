"""What every audit is asked: declared once, and handed to a command as one :class:`Request`."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from fleet.audit.core.kind import GATES, KINDS, Attacker, Kind
from fleet.cli import options
from fleet.cli.executors import Where
from fleet.cli.gates import demand_of


@dataclass(frozen=True)
class Request:
    """What the commands of all audits are asked. Fields that are annotated are options.

    Attributes:
        kind: Of audit.
        limits: Limit of each gate that was asked for, by the attacker that it counts.
        norm: How eps is measured, where the command asks.
    """

    kind: Kind
    run: options.Run = None
    runs: options.Runs = Path("runs")
    eps: options.Eps = None
    images: options.Images = 500
    split: options.Split = options.SplitChoice.test
    preset: options.Preset = options.PresetChoice.standard
    seed: options.Seed = 0
    data_root: options.DataRoot = None
    jobs: options.Jobs = None
    executor: options.Executor = options.ExecutorChoice.processes
    address: options.Address = "auto"
    per_job: options.PerJob = ""
    accelerator: options.Accelerator = None
    confidence: options.Confidence = None
    fail_on: options.Fail = None
    dry_run: options.DryRun = False
    form: options.AuditForm = options.AuditFormat.auto
    limits: Mapping[Attacker, float] = field(default_factory=dict)
    norm: options.NormChoice = options.NormChoice.linf

    @property
    def where(self) -> Where:
        """Where jobs run."""
        return Where(self.executor, self.jobs, self.address, self.per_job, self.accelerator)


Command = Callable[..., None]


def audit_command(which: Kind | str) -> Callable[[Command], Command]:
    """Make a function a command of an audit: it takes a :class:`Request` and options of its own.

    The options of the request and the gates of the kind are added to its own. What the preset says
    stands where the user says nothing.

    Args:
        which: A kind, or the name of a registered one.
    """
    kind = KINDS[which] if isinstance(which, str) else which

    def decorate(function: Command) -> Command:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        gates = {_name(GATES[who].option): who for who in kind.gates}

        def command(context: typer.Context, **values: Any) -> None:
            for name, value in kind.presets.get(values["preset"], {}).items():
                if context.get_parameter_source(name).name == "DEFAULT":  # type: ignore[union-attr]
                    values[name] = value
            rest = {parameter.name: values.pop(parameter.name) for parameter in own}
            limits = {who: values.pop(name) for name, who in gates.items()}
            given = {who: limit for who, limit in limits.items() if limit is not None}
            asked = Request(kind, **values, limits=given)
            demand_of(given, asked.confidence, asked.fail_on)
            function(asked, **rest)

        _declare(command, function, [*_parameters(kind, own)])
        return command

    return decorate


def _parameters(kind: Kind, own: list[inspect.Parameter]) -> Iterator[inspect.Parameter]:
    """The request's; the command's own behind `--preset`, the gates before `--confidence`."""
    yield _parameter("context", typer.Context)
    hints = get_type_hints(Request, include_extras=True)
    for part in fields(Request):
        if not hasattr(hints[part.name], "__metadata__"):
            continue
        if part.name == "confidence":
            yield from _gates(kind)
        if part.name not in {"confidence", "fail_on"} or kind.gates:
            default = kind.images if part.name == "images" else part.default
            yield _parameter(part.name, hints[part.name], default)
        if part.name == "preset":
            yield from (parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own)


def _gates(kind: Kind) -> Iterator[inspect.Parameter]:
    for position, who in enumerate(kind.gates):
        gate = GATES[who]
        named = position == 0 and not gate.least
        names = (gate.option, kind.alias) if named else (gate.option,)
        told = f"Exit code 1 {'below' if gate.least else 'above'} it. {gate.help}"
        option = typer.Option(*names, min=0, max=1, help=told, show_default=False)
        yield _parameter(_name(gate.option), Annotated[float | None, option], None)


def _name(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


def _parameter(
    name: str, annotation: Any, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=annotation)


def _declare(command: Command, function: Command, parameters: list[inspect.Parameter]) -> None:
    """Give a command name and words of a function, and the parameters that Typer reads."""
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__module__ = function.__module__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
