"""What a cross-check found: other libraries' attacks beside the native audit.

Nothing in this module imports torch.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fleet.audit.core.document import Stored
from fleet.audit.core.result import Outcome, pick

SCHEMA = "fleet.audit.crosscheck/1"


@dataclass(frozen=True)
class ToolVersion:
    """One library that was looked for.

    Attributes:
        tool: Name in the results.
        package: Name of its distribution.
        version: What is installed; None where it is missing.
    """

    tool: str
    package: str
    version: str | None


@dataclass(frozen=True)
class NativeFigure:
    """The native adaptive audit of one device at one eps: per-example worst case.

    Attributes:
        device: Device name.
        eps: Linf radius in pixel units.
        outcome: Over the images that the device decodes correctly.
    """

    device: str
    eps: float
    outcome: Outcome


@dataclass(frozen=True)
class ToolFigure:
    """One attack of one library on one device at one eps, scored as the native audit is.

    Attributes:
        device: Device name.
        eps: Linf radius in pixel units.
        tool: Name of the library.
        attack: Name of its attack.
        outcome: Over the images that the device decodes correctly; None where the attack failed.
        more: Images that it evades and the native audit does not.
        error: What the library raised, or an empty string.
    """

    device: str
    eps: float
    tool: str
    attack: str
    outcome: Outcome | None
    more: int
    error: str = ""


@dataclass(frozen=True)
class Crosscheck(Stored, schema=SCHEMA):
    """Everything that ``fleet audit crosscheck`` found.

    Attributes:
        run: Name of the audited run, or a label for in-memory models.
        created: ISO 8601 UTC time.
        tolerance: Evade rate that a library may find beyond the native audit, as a share.
        tools: Libraries looked for, missing ones included.
        native: One for each device and eps.
        figures: One for each device, eps and attack of a present library.
        settings: Of the native audit and of the libraries.
        provenance: Versions, machine, command line.
    """

    run: str
    created: str
    tolerance: float
    tools: tuple[ToolVersion, ...]
    native: tuple[NativeFigure, ...]
    figures: tuple[ToolFigure, ...]
    settings: dict[str, Any]
    provenance: dict[str, Any]

    def native_at(self, device: str, eps: float) -> Outcome:
        """Look up the native audit's outcome.

        Raises:
            KeyError: There is none.
        """
        return pick(self.native, device=device, eps=eps).outcome

    def excess(self, figure: ToolFigure) -> float | None:
        """Evade rate of a library beyond the native one; None where either is absent."""
        native = self.native_at(figure.device, figure.eps).rate("evade")
        found = None if figure.outcome is None else figure.outcome.rate("evade")
        return None if native is None or found is None else found - native

    @property
    def exceeding(self) -> tuple[ToolFigure, ...]:
        """Figures above the native audit by more than the tolerance."""
        # Rates are ratios of counts of one n: the slack is below any difference of two.
        return tuple(f for f in self.figures if (self.excess(f) or 0.0) > self.tolerance + 1e-9)

    @property
    def failed(self) -> tuple[ToolFigure, ...]:
        """Attacks that raised an error instead of giving images."""
        return tuple(figure for figure in self.figures if figure.error)

    def gaps(self, asked: Collection[str] = ()) -> list[str]:
        """Name what was to be compared and was not.

        Args:
            asked: Names of tools that must be there.
        """
        absent = [tool.tool for tool in self.tools if tool.version is None and tool.tool in asked]
        silent = dict.fromkeys(native.device for native in self.native if not native.outcome.n)
        return [
            *(f"nothing was compared with {tool}: it is not installed" for tool in absent),
            *(f"nothing was compared on {name}: it decodes no image correctly" for name in silent),
            *(
                f"nothing was compared with {figure.tool} {figure.attack} on {figure.device} at "
                f"eps {figure.eps:.4g}: {figure.error}"
                for figure in self.failed
            ),
        ]

    def require_whole(self) -> None:
        """Raise ``KeyError`` unless every figure has a native one beside it."""
        for figure in self.figures:
            self.excess(figure)
