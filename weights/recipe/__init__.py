"""How the bundled weights were made: corpus, steering and comparisons; see recipes.md."""

from pathlib import Path

#: Where the music that is not committed lies: beside the checkout.
DEFAULT_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
