"""Every error Eddy raises, under one root, each saying what happened, what the rule is and what to do."""

from __future__ import annotations


class EddyError(Exception):
    """Root of Eddy's errors.

    Attributes:
        retriable: whether the same call may succeed later without anything being changed.
    """

    retriable: bool = False


class SettingsError(EddyError, ValueError):
    """A setting, or several, cannot be used; the message lists all of them."""


class MissingExtraError(EddyError, ImportError):
    """A command needs a package that this installation does not have."""


class MalformedRecordError(EddyError, ValueError):
    """A record of the log cannot be read.

    Attributes:
        reason: one of `stream.reading.record.REASONS`, the label of the dead letter.
        detail: what was wrong, with the values, at most 500 characters.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail[:500]


class TopicMismatchError(EddyError, RuntimeError):
    """A topic exists with another shape than Eddy needs."""


class BrokerUnavailableError(EddyError, ConnectionError):
    """The broker cannot be reached or does not answer in time."""

    retriable = True


class LogGapError(EddyError, RuntimeError):
    """A chunk does not follow the last one that was folded."""


class CheckpointGapError(EddyError, RuntimeError):
    """A changelog lacks a part of what its newest checkpoint stands on; it must be read again."""

    retriable = True


class OwnershipLostError(EddyError, RuntimeError):
    """A partition's state was about to be written by a worker that may no longer own it."""

    retriable = True


class NotOwnedError(EddyError, RuntimeError):
    """Another process holds what this one wants to write: an archive, a data folder."""


class RecordRefusedError(EddyError, ValueError):
    """The broker will never take a record as it is."""


class ArchiveFormatError(EddyError, RuntimeError):
    """A file that should be the learner's archive is something else, or of another version."""


class BrokerNotEmptyError(EddyError, RuntimeError):
    """A broker that should be restored into holds records already."""


class StuckError(EddyError, RuntimeError):
    """Nothing moves in a process though something should; only a new process gets out of it."""

    retriable = True


class TraceRefusedError(EddyError, ValueError):
    """A store was given what it could not give back: a trace that cannot be read, a rating outside of [0, 1]."""


class LedgerFormatError(EddyError, RuntimeError):
    """A file that should be the ledger of learning cycles is something else, or of another version."""


class CycleTransitionError(EddyError, RuntimeError):
    """A learning cycle, or a candidate of one, was to become what does not follow from what it is."""


class CycleError(EddyError, RuntimeError):
    """A learning cycle cannot go on; it ends as aborted, and says why."""


class AgentConfigError(EddyError, ValueError):
    """An agent's configuration cannot be read, written or restored: a name that is no file's, text that is no TOML, a version that is not there."""


class EvaluationError(EddyError, ValueError):
    """An evaluation of a configuration gave nothing that a gate can weigh, or did not end in time."""


class GateError(EddyError, ValueError):
    """A gate was asked for what it cannot promise: an error outside of (0, 1), scores that are no pairs, a second verdict on one candidate."""


class TrainingError(EddyError, RuntimeError):
    """A training run cannot start or go on as it was asked for."""


class TrainingDataError(EddyError, ValueError):
    """A pair cannot be trained on.

    Attributes:
        reason: one word a reader counts by, as `no_answer` or `too_long`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ModelMissingError(EddyError, FileNotFoundError):
    """A model's files are not on this machine."""


class TrainingDivergedError(EddyError, ArithmeticError):
    """A loss or a gradient is no longer a finite number."""


class TrainingCheckpointError(EddyError, OSError):
    """A checkpoint or an adapter cannot be written or read."""
