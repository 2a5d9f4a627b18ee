"""The one alias for arrays in signatures; shapes and dtypes stand in the docstrings."""

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
