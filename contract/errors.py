"""One hierarchy of errors for every package, with the status codes that the C interface shares.

Messages follow three beats: what happened; got and expected; what to do next.

    raise DataError("mask has another size than its image: a.png is 640x480, its mask 320x240",
                    remedy="re-export the mask at the size of its image")
"""

from __future__ import annotations


class TrocarError(Exception):
    """The root of every error that Trocar raises on purpose.

    Args:
        message: What happened, with what was got and what was expected.
        remedy: What the user can do next; shown on a line of its own.

    Attributes:
        code: Status code, equal to the value that ``trocar.h`` returns for the same fault.
    """

    code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.remedy}" if self.remedy else self.message


class ConfigError(TrocarError):
    """A configuration value, flag or recipe is wrong. All faults are listed at once."""

    code = 2


class DataError(TrocarError):
    """An image, mask, class table, split or video does not fit what was expected."""

    code = 3


class BundleError(TrocarError):
    """A bundle is missing, truncated, or malformed."""

    code = 4


class IntegrityError(BundleError):
    """A file of a bundle does not have the SHA-256 that its manifest states."""

    code = 5


class VersionError(BundleError):
    """A bundle or checkpoint is of a schema version that this release cannot read."""

    code = 6


class CheckpointError(TrocarError):
    """A checkpoint is missing, truncated, or holds what does not fit the network."""

    code = 7


class ParityError(TrocarError):
    """An exported model or a golden frame disagrees with its reference beyond the stated limit."""

    code = 8


class BackendError(TrocarError):
    """A device, backend or precision that was asked for is not to be had here."""

    code = 9


class MissingExtraError(TrocarError):
    """A command needs a package that an optional extra installs."""

    code = 10


class OutputExistsError(TrocarError):
    """The output that a command would write is there already."""

    code = 11


class TrainingError(TrocarError):
    """Training cannot go on: a loss that is not finite, or memory that ran out."""

    code = 12


class SourceError(TrocarError):
    """A video source cannot be opened or read."""

    code = 13


class SinkError(TrocarError):
    """A result cannot be written: full disk, closed pipe, missing encoder."""

    code = 14


class ArgumentError(TrocarError):
    """A function was called with an argument of the wrong shape, type or range."""

    code = 15


class InterruptedByUserError(TrocarError):
    """The user stopped the command (Ctrl-C or SIGTERM); what was half-written is removed."""

    code = 16


class DamagedInputError(TrocarError):
    """A recording was run to its end, but parts of it were damaged or missing."""

    code = 17


ERRORS: tuple[type[TrocarError], ...] = (
    TrocarError,
    ConfigError,
    DataError,
    BundleError,
    IntegrityError,
    VersionError,
    CheckpointError,
    ParityError,
    BackendError,
    MissingExtraError,
    OutputExistsError,
    TrainingError,
    SourceError,
    SinkError,
    ArgumentError,
    InterruptedByUserError,
    DamagedInputError,
)
