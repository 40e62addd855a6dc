"""Names the kinds of arrays that searches pass around."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Indices = npt.NDArray[np.intp]
"""Positions of configs in a space."""

Mask = npt.NDArray[np.bool_]
"""One entry for each config of a space."""
