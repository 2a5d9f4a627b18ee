"""Doors into the tools of others: tables, PyTorch's data loaders, the HEAR API."""
