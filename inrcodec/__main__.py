"""The door: ``python -m inrcodec`` and the installed script. Ctrl-C is one line from the first import to the end."""

from __future__ import annotations

import os
import signal
import sys

# How long torch's threads spin before they sleep, read when its library is loaded. Adapting to an image has many short
# parallel parts: without a bound, two processes at once on two cores take ten times as long; 0 would cost a lone one
# half more.
os.environ.setdefault("GOMP_SPINCOUNT", "4000")


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
