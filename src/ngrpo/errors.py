"""Everything that this project raises on purpose.

    NgrpoError
    ├── ConfigError (ValueError)            a setting is wrong: found before a model is loaded, exit status 2
    ├── DataError (ValueError)              a file or row cannot be used
    ├── GradingError (RuntimeError)         the grader itself failed, not the answer that it graded
    ├── CheckpointError (RuntimeError)      a checkpoint is missing, torn or of another run
    ├── TrainingError (RuntimeError)        training cannot go on: what was computed so far is on disk
    │   └── TrippedError                    a trip-wire ended a run that teaches nothing any more
    ├── SamplerError (RuntimeError)          a server that samples completions no longer answers
    ├── LockedError (RuntimeError)           another process writes the folder
    ├── RankError (RuntimeError)             another process of torchrun failed or ended
    ├── StorageError (RuntimeError)          a file could not be written: disk full, quota, read-only
    ├── StoppedError (RuntimeError)          a signal ended the run; exit status 128 + the signal's number
    └── MissingDependencyError (ImportError) an optional package is not installed

A message is one line: what is wrong, what was given, what is allowed. The command line prints it without a traceback.
"""

from __future__ import annotations

from collections.abc import Sequence


def printable(text: str) -> str:
    r"""Returns a text as one line without control characters, which a terminal would obey.

    >>> printable("a\x1b[31m\n b")
    'a [31m b'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def short_line(text: str, limit: int = 300) -> str:
    r"""Returns a text as one printable line of bounded length.

    >>> short_line("a\n b", 5), short_line("a" * 9, 5)
    ('a b', 'aa...')
    """
    line = printable(text[: 4 * limit])
    return line if len(line) <= limit and len(text) <= 4 * limit else line[: limit - 3] + "..."


def error_line(error: BaseException, limit: int = 300) -> str:
    r"""Returns an error of another library as one printable line of bounded length.

    >>> error_line(OSError("no such\n file")), error_line(KeyError("a"))
    ('no such file', "KeyError: 'a'")
    """
    text = str(error)
    if not text.strip() or isinstance(error, ArithmeticError | AttributeError | LookupError | TypeError):
        text = f"{type(error).__name__}: {text}"  # a bare key or name says nothing alone
    return short_line(text, limit)


class NgrpoError(Exception):
    """Parent of every error raised on purpose; its message is one line fit for a user."""

    exit_status = 1
    reported = False
    """True where another process of the same run reports it."""


class ConfigError(NgrpoError, ValueError):
    """A setting, flag or argument is wrong."""

    exit_status = 2


class DataError(NgrpoError, ValueError):
    """A file or one of its rows cannot be used."""


class GradingError(NgrpoError, RuntimeError):
    """The grader failed; says nothing about the completion."""


class CheckpointError(NgrpoError, RuntimeError):
    """A checkpoint is missing, incomplete or belongs to another run."""


class TrainingError(NgrpoError, RuntimeError):
    """Training cannot go on, for example because no group carries a signal any more."""


class TrippedError(TrainingError):
    """A trip-wire ended a run that teaches nothing any more; the weights are sound."""


class SamplerError(NgrpoError, RuntimeError):
    """A sampler outside this process no longer answers; completions that have arrived are kept."""


class LockedError(NgrpoError, RuntimeError):
    """Another process writes the folder."""


class RankError(NgrpoError, RuntimeError):
    """Another of the processes that torchrun started has failed or ended.

    Args:
        message: which one, and why.
        exit_status: that of its error.
    """

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class StorageError(NgrpoError, RuntimeError):
    """A file could not be written: the disk is full, read-only or over its quota."""


class StoppedError(NgrpoError, RuntimeError):
    """A signal ended a run in good order.

    Args:
        message: what was saved, and the command that continues.
        signal_number: the signal; the exit status is 128 more.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal_number


class MissingDependencyError(NgrpoError, ImportError):
    """An optional dependency is not installed; the message holds the command that installs it.

    Args:
        package: the missing import name, or several.
        extra: our extra that declares it.
        purpose: what needs it, as the user typed it.
        besides: further arguments of `pip install`, for packages that the extra does not declare.
    """

    def __init__(self, package: str | Sequence[str], extra: str, purpose: str, besides: Sequence[str] = ()) -> None:
        names = [package] if isinstance(package, str) else list(package)
        noun = "package" if len(names) == 1 else "packages"
        listed = ", ".join(f"'{name}'" for name in names)
        command = " ".join(["pip install", f"'ngrpo[{extra}]'", *besides])
        super().__init__(f"{purpose} needs the {noun} {listed}: {command}")
