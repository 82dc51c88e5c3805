"""The package's version: part of what measured results depend on."""

VERSION = "0.1.0"
