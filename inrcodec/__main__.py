"""``python -m inrcodec``."""

from inrcodec.cli import entry_point

entry_point()
