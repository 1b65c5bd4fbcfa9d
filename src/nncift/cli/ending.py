"""How the program ends: an error that a user can mend is one sentence, and so is a signal; warnings are lines of their own."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from typing import Any, NoReturn

from nncift.cli import choosing, measuring, showing, starting  # noqa: F401  # their verbs join the program
from nncift.cli.program import app
from nncift.disk import disk_sentence
from nncift.errors import NnciftError
from nncift.redact import redact


def main() -> None:
    """The entry point: errors that a user can mend are one sentence and exit code 2."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("nncift").handlers = [_Warnings()]
    logging.getLogger("nncift").propagate = False
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # advertises an optional package wherever it is imported
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup and a shell's background jobs mean it
            signal.signal(number, _stop)
    try:
        code = app(prog_name="nncift", standalone_mode=False)
        sys.stdout.flush()  # a full disk, or a reader that is gone, is told of here and not when Python ends
        sys.exit(code)
    except NnciftError as error:
        print(f"nncift: {error}", file=sys.stderr)
        sys.exit(2)
    except _Stopped as stop:
        print("nncift: stopped; the same command continues where it left off", file=sys.stderr)
        sys.exit(128 + stop.number)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # what is still to be flushed has nobody to read it
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        if (sentence := disk_sentence(error)) is not None:
            print(f"nncift: {sentence}", file=sys.stderr)
            if isinstance(error, OSError) and error.filename is None:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(2)
        if not hasattr(error, "format_message"):  # usage errors have this, but no public class in every typer
            raise
        print(f"nncift: {redact(_usage_sentence(error))}", file=sys.stderr)
        sys.exit(2)


class _Stopped(BaseException):
    """SIGINT or SIGTERM; no library on the way catches it by mistake."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _stop(number: int, frame: object) -> NoReturn:
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_DFL)  # a second one ends it at once
    raise _Stopped(number)


def _usage_sentence(error: Any) -> str:
    """A wrong flag, verb or value in the form of every other error, with the help page that mends it."""
    text = re.sub(r"(?<=: )Value error, ", "", error.format_message().strip())
    text = re.sub(r" \(Possible options: ([^,)]*).*\)", r". Did you mean \1?", text)
    place = getattr(getattr(error, "ctx", None), "command_path", "nncift")
    return f"{text[:1].lower()}{text[1:].rstrip('.?')}{'?' if text.endswith('?') else '.'} See `{place} --help`."


class _Warnings(logging.Handler):
    """Each warning is one line on standard error, once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = redact(record.getMessage())
        if text not in self.told:
            self.told.add(text)
            print(f"note: {text}", file=sys.stderr)
