"""The application `optimize`: its commands in the order of its help, and how it ends."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ...errors import DataError, TradespaceError
from ...extras import install_hint
from . import answering, looking, searching
from .options import app

__all__ = ["answering", "app", "looking", "main", "searching"]

ORDER = (
    *("list", "show", "new", "check", "run", "resume", "regoal", "explain", "report", "export", "apply"),
    *("reproduce", "render", "compare", "dashboard", "devices", "calibrate", "validate"),
)
app.registered_commands.sort(key=lambda c: ORDER.index(c.name or getattr(c.callback, "__name__", "")))


def version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        from ... import __version__

        typer.echo(f"tradespace {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


def _noted(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning as a sentence, without the line of code that it came from."""
    from .console import note

    note(str(message))


def _strike_again() -> None:
    time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGTERM)


def _not_lost(lost: Any) -> None:
    """An interruption that came where Python throws exceptions away (a callback of the garbage collector,
    compiled code) is made again a moment later; anything else is told as ever."""
    if lost.exc_type is not None and issubclass(lost.exc_type, KeyboardInterrupt):
        _thread.start_new_thread(_strike_again, ())  # `threading` takes locks, which may be held here
    else:
        sys.__unraisablehook__(lost)


# What Typer raises where a command is called wrongly; it has no public name for it.
Misuse: type[Exception] = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")


def _misused(error: Any) -> None:
    """Tell in one sentence how a command was called wrongly; one called without a word has shown its help."""
    from .console import fail

    words = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
    if words and type(error).__name__ != "NoArgsIsHelpError":
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "optimize"
        remedy = "" if words.endswith("?") else f"; '{command} --help' says what it takes."
        fail(f"{words[0].lower()}{words[1:]}{remedy}")


def _readable(words: Sequence[str]) -> None:
    """Raises DataError for a word that is no text, or that no file could be called."""
    for word in words:
        if "\0" in word or any("\ud800" <= c <= "\udfff" for c in word):
            raise DataError(f"the argument {ascii(word)[:80]} is no text in UTF-8.")


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors become one sentence and exit code 2."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.unraisablehook = _not_lost
    warnings.showwarning = _noted
    try:
        _readable(sys.argv[1:] if arguments is None else arguments)
        sys.exit(app(args=arguments, prog_name="optimize", standalone_mode=False) or 0)
    except Misuse as error:
        _misused(error)
        sys.exit(2)
    except typer.Abort:
        sys.exit(130)
    except TradespaceError as error:
        from .console import fail

        fail(str(error))
        sys.exit(2)
    except ModuleNotFoundError as error:
        if not (hint := install_hint(error)):
            raise
        from .console import fail

        fail(f"this needs the package '{error.name}', which is not installed{hint}")
        sys.exit(2)
    except MemoryError as error:
        from .console import fail

        fail(f"this takes more memory than there is ({error or 'none left'}); ask for a smaller problem.")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise
        from .console import fail

        fail(f"cannot use '{str(error.filename)[:80]}': {error.strerror}.")
        sys.exit(2)
