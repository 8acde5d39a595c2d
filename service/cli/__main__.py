"""Entry point of the ``cin`` command. Loading the libraries takes a second, so this module imports none of them."""

from __future__ import annotations

import io
import signal
import sys


def main() -> None:
    """Run the command. Before it has begun and after its end, Ctrl-C ends the process without a traceback."""
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not in a shell's background
    if interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may have characters that the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")

    from service.cli import main as commands

    try:
        try:
            if interruptible:
                signal.signal(signal.SIGINT, signal.default_int_handler)
            commands.main()
        finally:
            if interruptible:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:  # before or after the command's own handling
        signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
