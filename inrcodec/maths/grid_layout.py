"""What defines the context of a latent in a grid, its distribution and the integers of its network.

Apart from the kernels that use it, ``maths.grid_context`` and ``maths.grid_coder``: a compiler takes time to load.
"""

from __future__ import annotations

REACH = 3
"""Rows above and columns beside that a latent's context reaches."""
NEIGHBOURS = tuple(
    [(-3, dx) for dx in (-1, 0, 1)] + [(-2, dx) for dx in range(-2, 3)] + [(-1, dx) for dx in range(-3, 3)]
    + [(0, dx) for dx in (-3, -2, -1)]
)  # fmt: skip
"""Rows and columns from a latent to those that its context has."""
COARSER = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
N_INPUTS = len(NEIGHBOURS) + len(COARSER)

N_SCALES = 80
LOG_SCALE_STEP = 0.125
LOG_SMALLEST_SCALE = -3.5
LOG_LARGEST_SCALE = LOG_SMALLEST_SCALE + LOG_SCALE_STEP * (N_SCALES - 1)
"""Scales of Laplace distributions, the step a power of two for the integers' sake."""

WEIGHT_BITS, ACTIVATION_BITS, LATENT_BITS = 16, 12, 4
"""Units of a context network's integers: weights of 2^-16, activations of 2^-12, latents and means of 2^-4."""
MOST_LATENT = 1 << 15
"""Magnitudes of latents stay below."""
