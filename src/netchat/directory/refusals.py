"""What a refusal of ``/v2/`` says: its status, its code for programs, its sentence for people."""

from typing import Final

from aiohttp import web

from netchat.directory.http import as_json
from netchat.wire.directory_v2 import format_refused

_SENTENCES: Final = {
    "malformed": (400, "This is not a request that the directory understands."),
    "bad-name": (400, "This is not a name."),
    "issued-ahead": (400, "This record was issued days from now; set the clock right."),
    "bad-signature": (401, "The signature does not fit the key."),
    "bad-nonce": (401, "The nonce was used, is too old, or is not of this directory."),
    "wrong-directory": (401, "The request was signed for another directory."),
    "not-yours": (403, "The record is another key's."),
    "not-the-operator": (403, "This needs the token in operator.json."),
    "web-page": (403, "Web pages may not change anything here."),
    "no-such-path": (404, "There is nothing here."),
    "no-such-record": (404, "No key holds this name here."),
    "no-such-recipient": (404, "This key holds no name here, so it has no mailbox."),
    "no-mailboxes": (404, "This is a meeting point, which keeps no mail."),
    "no-such-method": (405, "There is another method for this."),
    "name-held": (409, "Another key holds the name {name}."),
    "look-alike": (409, "This name looks like {name}; choose another one."),
    "moved": (409, "{name} is registered with a newer record of your key."),
    "stale": (409, "There is a record of {name} with this number or a higher one."),
    "replaced": (409, "A newer connection of this key waits for its mail."),
    "too-large": (413, "This is more than the directory takes at once."),
    "too-many-from-you": (429, "Too much of yours waits for this recipient."),
    "mailbox-full": (429, "The mailbox is full."),
    "full": (503, "The directory is full; try again later."),
    "busy": (503, "Too many ask at once; try again later."),
    "store-unavailable": (503, "The directory's disk does not take this now; try again later."),
}


def refused_body(code: str, name: str = "") -> tuple[int, bytes]:
    """Return status and body. What has no code of its own is ``malformed``."""
    if code not in _SENTENCES:
        code = "malformed"
    status, sentence = _SENTENCES[code]
    return status, format_refused(code, sentence.format(name=name))


def refusal_of(code: str, name: str = "") -> web.Response:
    """Return the answer that refuses a request; ``name`` stands in its way."""
    return as_json(*refused_body(code, name))
