"""The lowest versions that pyproject.toml allows, as pins: `python .ci/lowest.py`, for pip."""

import re
from pathlib import Path

text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
needed = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
assert needed is not None
print(*(f"{name}=={lowest}" for name, lowest in re.findall(r'"([\w-]+)>=([\d.]+)', needed[1])))
