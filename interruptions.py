"""Signals that end the program: its children die, what it began is cleared away, and one sentence says how to go on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from .children import signal_name, stop_children

PATIENCE = 1.0  # seconds that clearing away may take; native code may not return for longer


class Interruption(BaseException):
    """A signal asked the program to end; no `except Exception` stops it."""


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Ends the program on SIGINT, SIGTERM and SIGHUP: with one sentence, as shells count it (130, 143, 129).

    What the signal finds running is left by an `Interruption`, so that it clears away after itself; what does not
    leave within a second is left alone. A signal that is ignored, as by nohup, stays ignored.
    """
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ending = _Ending()
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, ending.begin)
    wake = ending.watch()
    try:
        yield
    except Interruption:
        ending.end()
    finally:
        wake()
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


class _Ending:
    """What a signal begins."""

    def __init__(self) -> None:
        self.number = 0
        self.said = threading.Lock()

    def begin(self, number: int, frame: FrameType | None) -> None:
        if self.number:  # the second one is impatient
            os._exit(128 + number)
        self.number = number
        stop_children()
        raise Interruption

    def watch(self) -> Callable[[], None]:
        """Starts a thread that ends the program where the main thread does not; gives what ends the watch.

        The system tells the thread of a signal even while the main thread is in native code.
        """
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

        def wait() -> None:
            told = os.read(reading, 1)
            os.close(reading)
            if told:
                stop_children()
                time.sleep(PATIENCE)
                self.number = told[0]
                self.end()

        threading.Thread(target=wait, daemon=True).start()

        def stop() -> None:
            signal.set_wakeup_fd(before)
            os.close(writing)

        return stop

    def end(self) -> None:
        if self.said.acquire(blocking=False):
            with contextlib.suppress(OSError):  # the terminal may be gone
                name = signal_name(self.number)
                print(f"pocketface: ended by {name}; the same command goes on from what is done", file=sys.stderr)
                sys.stderr.flush()
        os._exit(128 + self.number)
