"""The door: ``python -m inrcodec`` and the installed script. Ctrl-C is one line from the first import to the end."""

from __future__ import annotations

import signal
import sys


def entry_point() -> None:
    """Run the command line and end the process."""
    try:
        from inrcodec.cli import main

        code = main()
    except KeyboardInterrupt:
        sys.stderr.write("inrcodec: interrupted\n")
        code = 130
    # What is left is Python's own end, which an interruption would fill with tracebacks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    entry_point()
