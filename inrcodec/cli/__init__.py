"""The command line ``inrcodec``: a thin layer over the public functions of the package.

Messages go to stderr, results to stdout. Exit codes: 0 success, 1 a problem with the data or a file, 2 a problem with
the options, 130 interrupted. Every error is one line.
"""

from __future__ import annotations

import sys
import warnings

import click

from inrcodec import __version__
from inrcodec.cli.batch import batch
from inrcodec.cli.common import printable
from inrcodec.cli.compress import compress
from inrcodec.cli.decompress import decompress
from inrcodec.cli.inspect import info, verify
from inrcodec.cli.modulations import modulations, sample
from inrcodec.cli.priors import priors
from inrcodec.cli.show import show
from inrcodec.cli.sweep import sweep
from inrcodec.cli.view import view
from inrcodec.errors import InrcodecError, LossWarning

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="inrcodec")
def cli() -> None:
    """Compress images, audio and gridded fields as functions.

    \b
    Examples:
      inrcodec compress photo.png                      writes photo.inr
      inrcodec compress photo.png --target-bpp 0.3
      inrcodec decompress photo.inr --scale 2 -o big.png
      inrcodec compress thumbnails/ -o set.inrs        many signals, one archive
      inrcodec verify photo.inr photo.png
      inrcodec batch photos/ packed/ --workers 2        a tree of files; resumes where it stopped
      inrcodec show photo.inr --original photo.png      where the bits went, other resolutions
      inrcodec view photo.inr                           the same in a browser, at any zoom
      inrcodec sweep photos/ --compare jpeg,webp -o rd  rate-distortion curves and a report
    """


for command in (compress, decompress, info, verify, batch, show, view, sweep, priors, modulations):
    cli.add_command(command)
priors.add_command(sample)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code; errors and warnings of the package are one line on stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", LossWarning)
        show = warnings.showwarning
        warnings.showwarning = lambda message, category, *place, **rest: (
            _warn(str(message)) if issubclass(category, LossWarning) else show(message, category, *place, **rest)
        )
        return _run(arguments)


def _warn(message: str) -> None:
    click.echo(f"inrcodec: warning: {printable(' '.join(message.split()))}", err=True)


def _run(arguments: list[str] | None) -> int:
    try:
        result = cli.main(args=arguments, prog_name="inrcodec", standalone_mode=False)
        return int(result or 0)
    except click.exceptions.Abort:
        return _say("interrupted", 130)
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except click.ClickException as error:
        return _say(error.format_message(), 2)
    except InrcodecError as error:
        return _say(" ".join(str(error).split()), error.exit_code)
    except BrokenPipeError:
        sys.stdout = None
        return 0
    except OSError as error:
        # Not a signal or a file, which name themselves, but for example a report to a full disk.
        sys.stdout = None
        return _say(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error), 1)
    except MemoryError:
        return _say("not enough memory for this signal: try a smaller one, or --effort fast", 1)


def _say(message: str, code: int) -> int:
    click.echo(f"inrcodec: {printable(message)}", err=True)
    return code
