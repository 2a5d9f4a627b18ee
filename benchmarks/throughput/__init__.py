"""How fast vit1dx is, beside what a user would do instead and what the machine allows.

See ``python -m benchmarks.throughput --help``.
"""
