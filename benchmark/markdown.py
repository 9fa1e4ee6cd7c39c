"""Text of strangers (names of files, reasons) in Markdown."""

from __future__ import annotations


def escape_markdown(text: object) -> str:
    r"""Gives `text` on one line so that Markdown shows it as it is, also inside a table.

    >>> print(escape_markdown("a|b <img>"))
    a\|b &lt;img>
    """
    line = " ".join(str(text).replace("&", "&amp;").replace("<", "&lt;").split())
    return "".join(f"\\{letter}" if letter in "\\`*[]|" else letter for letter in line)
