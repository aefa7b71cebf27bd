"""Error families, named for who must act.

Every error says what is wrong, where, and how to mend it. The library raises; only ``fleet.cli``
prints. A ``FleetError`` ends a command with exit code 2 and without a traceback.

    FleetError
    ├── ProfileError      the user's YAML
    │   └── ProfileFileError  the file itself, or its secret, cannot be read (fleet.profiles)
    ├── DataError         a dataset or an image
    ├── CheckpointError   a run directory or a checkpoint
    ├── TrainingError     a training that diverged
    ├── AuditError        an audit that cannot be made, or a model that cannot be audited
    ├── BundleError       a device bundle
    │   └── IntegrityError    its bytes are not those its manifest names
    ├── RolloutError      keys, repository, waves, or a device's slots
    │   ├── SignatureError    nobody who is trusted signed it (exit code 20)
    │   ├── WrongDeviceError  not for this device (21)
    │   ├── RollbackError     older than what the device has seen (22)
    │   ├── ExpiredError      beyond its time (23)
    │   ├── DownloadError     the repository cannot be reached, or the link broke (30)
    │   ├── DiskError         the device cannot write (40)
    │   └── SelfTestError     the new model answers otherwise than when it was packaged (50)
    ├── StorageError      disk full, no permission
    └── BackendError      the machine: a missing or broken package, a dead worker process

What a user should know of while the work goes on is a :class:`FleetWarning`.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class FleetError(Exception):
    """Base of every error that a user can mend.

    Args:
        message: What is wrong and where, in one sentence without a final full stop.
        hint: How to mend it, or None.
    """

    exit_code = 2
    """What the command ends with."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the hint, so that an error crosses a process boundary whole."""
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[FleetError], message: str, hint: str | None) -> FleetError:
    return kind(message, hint=hint)


class ProfileError(FleetError):
    """The profile (YAML) cannot be used as written."""


class DataError(FleetError):
    """A dataset or an image is absent, unreadable or not what was promised."""


class CheckpointError(FleetError):
    """A run directory or a checkpoint is absent, damaged, or belongs to another profile."""


class TrainingError(FleetError):
    """A training stopped because its loss or its weights are no longer finite."""


class AuditError(FleetError):
    """An audit cannot be made as asked, or a model cannot be audited."""


class BundleError(FleetError):
    """A bundle is not in the format that its version promises."""


class IntegrityError(BundleError):
    """A bundle's bytes are not those that its manifest names."""


class RolloutError(FleetError):
    """A rollout cannot go on: keys, repository, waves, or a device's slots."""


class SignatureError(RolloutError):
    """A signature does not hold, or nobody who is trusted made it."""

    exit_code = 20


class WrongDeviceError(RolloutError):
    """A bundle is not for this device, or this device has none."""

    exit_code = 21


class RollbackError(RolloutError):
    """Something is older than what the device has seen already."""

    exit_code = 22


class ExpiredError(RolloutError):
    """Metadata is beyond its time."""

    exit_code = 23


class DownloadError(RolloutError):
    """The repository cannot be reached, or the link broke."""

    exit_code = 30


class DiskError(RolloutError):
    """The device cannot write."""

    exit_code = 40


class SelfTestError(RolloutError):
    """The new model does not do what it did when it was packaged."""

    exit_code = 50


class StorageError(FleetError):
    """A file or a directory cannot be written."""


class BackendError(FleetError):
    """This machine lacks something: a package, a matching pair of packages, a living process."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out: Python's own, or torch's, which is another."""
    words = ("allocate memory", "out of memory", "bad_alloc", "could not create a memory")
    told = isinstance(error, RuntimeError | OSError) and any(word in str(error) for word in words)
    return isinstance(error, MemoryError) or told


def out_of_memory(name: str) -> BackendError:
    """The error of work that ran out of memory."""
    return BackendError(
        f"{name} ran out of memory",
        hint="use fewer --jobs, a smaller batch size, or fewer or smaller images",
    )


class FleetWarning(UserWarning):
    """Something to know of that does not stop the work; ``fleet`` shows it as a note on stderr."""


_heard: list[list[str]] = []


@contextmanager
def noted() -> Iterator[list[str]]:
    """Collect what :func:`note` is told in a block, instead of saying it."""
    _heard.append([])
    try:
        yield _heard[-1]
    finally:
        _heard.pop()


def note(text: str) -> None:
    """Say what a job found out; whoever runs the job says it, once (:func:`noted`)."""
    if not _heard:
        warn(text)
    elif text not in _heard[-1]:
        _heard[-1].append(text)


def warn(text: str) -> None:
    """Say something once: a worker keeps quiet, because the process that began it has said it."""
    import multiprocessing  # noqa: PLC0415  # a device does without it

    if multiprocessing.parent_process() is None:
        warnings.warn(text, FleetWarning, stacklevel=3)
