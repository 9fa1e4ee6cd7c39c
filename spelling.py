"""What to say to a name that is not known: the nearest known one; and how to show names and errors on one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Gives the question that names the known name nearest to `name`, or "" where none is near.

    >>> did_you_mean("embeded-default", ["embedded-default", "vgg16"])
    "did you mean 'embedded-default'?"
    >>> did_you_mean("x", ["embedded-default", "vgg16"])
    ''
    """
    nearest = difflib.get_close_matches(str(name), list(known), 1)
    return f"did you mean {nearest[0]!r}?" if nearest else ""


def known_names(name: object, known: Iterable[str], aliases: Iterable[str] = ()) -> str:
    """Lists the known names, and asks whether the nearest, or the nearest alias, was meant.

    >>> known_names("epok", ["epoch", "one-shot"])
    "known: epoch, one-shot; did you mean 'epoch'?"
    """
    names = list(known)
    return "; ".join(filter(None, (f"known: {', '.join(names)}", did_you_mean(name, [*names, *aliases]))))


def printable(text: str) -> str:
    r"""Gives `text` on one line, with each character that is not printed spelt out: a terminal obeys some of them.

    >>> print(printable("a\x1b[2Jb\nc"))
    a\x1b[2Jb\nc
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def first_line(error: BaseException) -> str:
    r"""Gives the first line of an error, without the trace that native libraries append.

    >>> first_line(ValueError("no such shape:\n  at 0x1"))
    'no such shape'
    """
    text = str(error).strip()
    return text.splitlines()[0].rstrip(":") if text else type(error).__name__
