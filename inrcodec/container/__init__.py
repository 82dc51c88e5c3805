"""The file formats ``.inr`` and ``.inrs`` (docs/format.md): bytes in, bytes out, no knowledge of any codec."""
