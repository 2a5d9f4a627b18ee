"""ViT-1D features of music: class tokens, sequence tokens and attention maps."""

__version__ = "0.1.0"
