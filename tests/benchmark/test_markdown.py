"""Text of strangers in Markdown."""

from pocketface.benchmark.markdown import escape_markdown


def test_markup_links_and_cells_are_shown_as_text() -> None:
    assert escape_markdown("<img src=x>|`*[a](b)&\n c") == r"&lt;img src=x>\|\`\*\[a\](b)&amp; c"
