"""``python -m vit1dx``."""

from .cli.main import main

main()
