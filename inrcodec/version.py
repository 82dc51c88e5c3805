"""The version of the package, stored with measured results and compared between workers."""

VERSION = "0.1.0"
