"""Network building blocks that several codecs share: SIREN layers, exact integer networks, soft rounding."""
