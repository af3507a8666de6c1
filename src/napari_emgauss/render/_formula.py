"""The constants of the blending formula, one place for every backend.

``a_i = min(0.99, o_i exp(-sigma_i))`` with ``sigma_i = dᵀ Σ⁻¹ d / 2``, and a splat is left out of a pixel where
``a_i < 1/255``. Every backend takes that cut on ``sigma``: a pixel sees a splat where ``sigma_i <= ln(255 o_i)``. That
is the same set of pixels, and it does not depend on how a backend approximates ``exp``.
"""

from __future__ import annotations

MAX_ALPHA = 0.99
"""No single splat covers more than this, so that the transmittance never becomes zero and stays invertible."""

MIN_ALPHA = 1.0 / 255.0
"""A splat that adds less than this to a pixel is left out there."""

EXHAUSTED = 1e-30
"""A pixel that lets less than this through takes no more splats: one step further and float32 could not divide back."""
