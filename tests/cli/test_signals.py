"""Signals end a command, wherever in it they come."""

from __future__ import annotations

import gc
import signal
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress

import pytest

from vit1dx.cli.signals import Ended, ending, signal_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals")


class _Thing:
    pass


def _signalled_in_a_callback(number: signal.Signals) -> None:
    """The signal comes while something goes, where Python drops what a handler raises."""
    thing = _Thing()
    watch = weakref.ref(thing, lambda _: signal.raise_signal(number))
    del thing
    gc.collect()
    assert watch() is None
    time.sleep(5)
    pytest.fail(f"{number.name} was lost")


@pytest.fixture
def _handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_in_a_callback_is_not_lost(number: signal.Signals) -> None:
    with pytest.raises((KeyboardInterrupt, Ended)) as raised, ending():
        _signalled_in_a_callback(number)
    assert signal_of(raised.value) == number


@pytest.mark.usefixtures("_handlers")
def test_no_signal_comes_after_the_command() -> None:
    with suppress(KeyboardInterrupt), ending():
        thing = _Thing()
        watch = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
        del thing
    assert watch() is None
    time.sleep(0.05)


def test_c_code_that_finds_an_exception_hides_its_signal_from_nobody() -> None:
    error = SystemError("returned a result with an exception set")
    assert signal_of(error) is None
    error.__cause__ = Ended(signal.SIGTERM)
    assert signal_of(error) == signal.SIGTERM
    assert signal_of(ValueError()) is None
