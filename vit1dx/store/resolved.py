"""Where an output really is: one place, whatever symbolic links lead to it."""

from __future__ import annotations

import os
from pathlib import Path


def resolved(path: Path) -> Path:
    """The path itself, or where it is a symbolic link, what that leads to, there or not.

    Links above it do not matter: what lies beside a file is the same by either name.
    """
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def beside(path: Path, ending: str) -> Path:
    """The file beside a path, or beside what it leads to, of the same name and this ending."""
    real = resolved(path)
    return real.with_name(real.name + ending)
