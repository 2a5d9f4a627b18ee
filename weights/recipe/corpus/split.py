"""The one place that decides which songs are for training and which for testing."""

from __future__ import annotations

TEST_EVERY = 10
VALID_EVERY, VALID_FIRST = 20, 7
SPLITS = ("train", "test", "all")


def split_of(number: int) -> str:
    """Say which split a song belongs to.

    Parameters
    ----------
    number : int
        The song's number within its source. It belongs to the song, so all its renders share it.

    Returns
    -------
    str
        "test" where the number is divisible by ten, else "train".
    """
    return "test" if number % TEST_EVERY == 0 else "train"


def role_of(number: int) -> str:
    """What a song is for: "test", "valid" (held back from training, to steer it by) or "train"."""
    if split_of(number) == "test":
        return "test"
    return "valid" if number % VALID_EVERY == VALID_FIRST else "train"


def wanted(number: int, split: str) -> bool:
    """Say whether a song is in the split asked for, "all" taking every song."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    return split in ("all", split_of(number))
