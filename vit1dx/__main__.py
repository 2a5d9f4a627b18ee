"""``python -m vit1dx``."""

from .cli import main

main()
