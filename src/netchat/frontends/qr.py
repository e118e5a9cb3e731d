"""A text as a QR code out of half blocks, for a camera that looks at a terminal."""

import io
from typing import Final

_BORDER_MODULES: Final = 2
"""The standard wants 4; cameras take 2, and so the longest key fits on a screen of 24 lines."""


def picture(text: str) -> str:
    """Return ``text`` as lines of blocks: light where the terminal writes, without colours.

    Without colours it is harmless to print anywhere. Where letters are dark on light, the picture
    is a negative, which the cameras of today read as well.
    """
    import segno  # most chats never need it, and it takes as long to load as everything else

    drawn = io.StringIO()
    code = segno.make_qr(text, error="l")  # a clean screen needs little correction
    code.terminal(drawn, border=_BORDER_MODULES, compact=True)
    return drawn.getvalue().rstrip("\n")
