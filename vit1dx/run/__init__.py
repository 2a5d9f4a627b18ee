"""A run over many files: what there is to do, the processes that do it, and what came of it."""
