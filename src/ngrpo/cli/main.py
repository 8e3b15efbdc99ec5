"""The `ngrpo` command: registers the commands, and turns every error meant for a user into one line.

Exit status: 0 done, 1 failed, 2 wrong usage or config, 128 + the signal's number after a signal (130 for Ctrl-C).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import typer

from ngrpo.cli.advantages import advantages
from ngrpo.cli.compare import compare
from ngrpo.cli.demo import demo
from ngrpo.cli.diagnose import diagnose
from ngrpo.cli.eval import eval_
from ngrpo.cli.grade import grade
from ngrpo.cli.lint import lint
from ngrpo.cli.passk import passk
from ngrpo.cli.power import power
from ngrpo.cli.regrade import regrade
from ngrpo.cli.report import report
from ngrpo.cli.study import study
from ngrpo.cli.train import train, with_values
from ngrpo.errors import NgrpoError, printable
from ngrpo.training.ranks import place_of, refuse_torchrun

# The parser's usage errors; typer exports this one subclass of them and not their parent.
UsageError: Any = typer.BadParameter.__base__

INTERRUPTED = 130
LONGEST_MESSAGE = 800
"""Characters of an error line; paths, names and what a server says can be any length."""

RENAMED = {"--engine": "--sampler", "--policy": "--grader"}
"""Former names of options; `train --engine` stays, which is why only an unknown one is named here."""

app = typer.Typer(
    name="ngrpo",
    help="Learn from the problems a model always gets wrong (NGRPO and its rivals), and measure whether that helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command()(demo)
app.command()(train)
app.command(name="eval")(eval_)
app.command()(passk)
app.command()(compare)
app.command()(advantages)
app.command()(grade)
app.command()(regrade)
app.command()(study)
app.command()(power)
app.command()(lint)
app.command()(diagnose)
app.command()(report)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["train"]:
            given = with_values(given)
        else:
            refuse_torchrun(f"ngrpo {' '.join(given[:1])}".strip())
        status = app(args=given, standalone_mode=False)
        if status == INTERRUPTED:  # typer takes Ctrl-C for itself and returns its status
            _fail("interrupted", INTERRUPTED)
    except NgrpoError as error:
        status = error.exit_status if error.reported else _fail(str(error), error.exit_status)
    except typer.Exit as error:
        status = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        status = _fail("interrupted", INTERRUPTED)
    except UsageError as error:
        status = _fail(f"{_usage(error)} (see --help)", 2)
    sys.exit(status or 0)


def _usage(error: Any) -> str:
    now = RENAMED.get(getattr(error, "option_name", ""))
    return (
        f"{error.option_name} is now {now}" if now else error.format_message().replace("Value error, ", "").rstrip(".")
    )


def _fail(message: str, status: int) -> int:
    if place_of().rank > 0:
        message = f"rank {place_of().rank}: {message}"
    line = printable(message)
    if len(line) > LONGEST_MESSAGE:  # the cause comes first, the remedy last
        line = f"{line[: LONGEST_MESSAGE // 2]} ... {line[-LONGEST_MESSAGE // 2 :]}"
    with suppress(OSError):  # a terminal that hung up
        sys.stderr.write(f"ngrpo: {line}\n")
    return status
