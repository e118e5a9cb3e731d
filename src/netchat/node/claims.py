"""Whether a key holds a name that a classic text claims, as far as the directory says.

A pinned name needs no asking. For the others the answer is remembered for a while, and a flood of
names is not passed on to the directory: who cannot be asked about in time is taken at its word,
and shown as unverified as every classic text is.
"""

import asyncio
from collections.abc import Awaitable, Callable

from netchat.errors import DirectoryError
from netchat.limits import CLAIM_CHECK_S, CLAIM_CHECKS_MAX, CLAIMS_KEPT_MAX, CLAIMS_KEPT_S
from netchat.model import Name, SignedRecord

Record = Callable[[Name], Awaitable[SignedRecord | None]]


class Claims:
    """``record`` asks the directory."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._known: dict[Name, tuple[float, bool]] = {}
        self._asking = 0

    def known(self, name: Name) -> bool | None:
        """Return whether a key holds ``name``, None when the directory has to be asked."""
        entry = self._known.get(name)
        if entry is None or asyncio.get_running_loop().time() > entry[0]:
            return False if self._asking >= CLAIM_CHECKS_MAX else None
        return entry[1]

    async def ask(self, name: Name) -> bool:
        """Ask the directory, for a moment."""
        self._asking += 1
        try:
            async with asyncio.timeout(CLAIM_CHECK_S):
                is_held = await self._record(name) is not None
        except (TimeoutError, DirectoryError):
            return False
        finally:
            self._asking -= 1
        if len(self._known) >= CLAIMS_KEPT_MAX:
            self._known.clear()
        self._known[name] = (asyncio.get_running_loop().time() + CLAIMS_KEPT_S, is_held)
        return is_held
