"""Audio in: any file, decoded in blocks, to mono samples at one rate."""
