"""Every bound in the program, with its reason. Nothing from outside is taken without one.

Units come last in a name. A preference that a person may want to change is a flag, not a limit.
"""

from typing import Final

# --- names and addresses (classic.md, "Names") ---------------------------------------------------
NAME_CHARS_MAX: Final = 32
FILE_NAME_BYTES_MAX: Final = 255
"""NAME_MAX of Linux file systems."""

# --- the classic wire ----------------------------------------------------------------------------
CLASSIC_SEND_BYTES_MAX: Final = 1_024
"""Classic receivers read 1,024 bytes once and drop the rest: a longer message is refused."""
CLASSIC_RECEIVE_BYTES_MAX: Final = 65_536
"""Far above any classic sender, and 512 of them at once still fit in 32 MiB."""
SEGMENT_BYTES_MIN: Final = 536
"""TCP cuts a longer message into segments of at least this size (RFC 9293 section 3.7.1)."""
CLASSIC_SPACES_MAX: Final = 8
"""Spaces allowed between the colon and the first quote: one is written, more are forgiven."""

# --- connections that others open to a node ------------------------------------------------------
ARRIVALS_MAX: Final = 512
"""Open connections; above it the oldest makes room, so who is silent or slow blocks nobody."""
ARRIVAL_DEADLINE_S: Final = 5.0
"""From accept to the end of the message; a byte every 50 ms still brings a short one through."""
ARRIVALS_WAITING_MAX: Final = 1_024
"""Whole messages that wait for the disk; above it senders are turned away and keep theirs."""
LISTEN_BACKLOG: Final = 512
"""A classroom that sends at the same second; Linux caps it by net.core.somaxconn."""

# --- connections that a node opens ---------------------------------------------------------------
DIAL_TIMEOUT_S: Final = 3.0
"""Above one lost SYN (retransmitted after 1 s) on a LAN, below what a person waits for gladly."""
HAND_OVER_TIMEOUT_S: Final = 5.0
"""1,024 bytes fit in any socket buffer, so this bounds only a broken network stack."""
CLOSE_WAIT_S: Final = 0.5
"""How long we watch for a reset after the last byte. A NetChat peer closes after its commit, in
milliseconds; some classic clients never close, and their sender must not wait for ever."""
ANSWER_BYTES_MAX: Final = 65_536
"""A classic receiver answers nothing; of one that talks back, this much is read and ignored."""

# --- the outbox ----------------------------------------------------------------------------------
RETRY_MS_MIN: Final = 1_000
RETRY_MS_MAX: Final = 15_000
"""A peer that comes back gets its messages within this; an absent one costs a lookup as often."""
ADDRESS_AGE_MS_MAX: Final = 10 * 60_000
"""How old an address may be that is dialled because the directory does not answer. Ports change
owners: an older one may be a stranger's, and classic messages are plain text."""
EXPIRY_MS: Final = 30 * 24 * 3_600_000
"""design.md section 3: a message waits 30 days, then says that it expired."""
RECIPIENTS_MAX: Final = 300
"""Of one SEND_MULTI: a large lecture hall."""
SEND_WAIT_S: Final = 10.0
"""design.md section 7: how long a send waits for its outcome before it says `queued`."""
EXIT_WAIT_S: Final = 5.0
"""classic.md, EXIT: how long leaving may take."""

# --- the engine and its disk ---------------------------------------------------------------------
BATCH_INPUTS_MAX: Final = 256
"""Inputs that share one commit: past this, larger batches gained nothing (research/engine.md)."""
WORKER_QUEUE_MAX: Final = 10_000
"""Inputs and questions that wait for the writer thread."""
PAGE_MESSAGES_MAX: Final = 500
"""Messages read from history at once, so that a READ of ten years stays small in memory."""
EVENTS_WAITING_MAX: Final = 10_000
"""Events that a face has not taken yet; above it the face is told that it missed some."""
STORE_RETRY_S: Final = 1.0
"""Pause before an input that the disk refused is tried again."""
BUSY_TIMEOUT_MS: Final = 5_000
"""How long SQLite waits for another process's lock (a backup tool reading the file)."""

# --- the prompt ----------------------------------------------------------------------------------
LINE_BYTES_MAX: Final = 65_536
"""One typed or piped line; more is an invalid command, never an endless buffer."""

TAB_WAIT_S: Final = 0.5
"""How long Tab waits for the directory before it offers the names known so far."""
TYPED_LINES_BYTES_MAX: Final = 1_024 * 1_024
"""What the arrow keys remember: some ten thousand lines, read whole at every start."""

# --- the directory -------------------------------------------------------------------------------
PORT_DEFAULT: Final = 7_800
LEASE_S: Final = 60
"""design.md section 6."""
CLASSIC_TTL_S_MAX: Final = 366 * 86_400
"""A classic entry of more than a year is surely nobody's any more."""
LEASE_S_MAX: Final = 3_600
"""Nobody may ask for a longer lease: an address that is gone must leave the list."""
CLASSIC_TTL_S: Final = 86_400
"""classic.md: a classic entry stays until it is replaced or a day has passed."""
HEARTBEAT_LOCAL_S: Final = 2.0
"""Refresh of a directory on this machine: that a meeting point is gone is noticed within it."""
HEARTBEAT_REMOTE_S: Final = 20.0
"""Refresh towards another machine: two may be lost before a lease of 60 s ends."""
ADDRESSES_MAX: Final = 100_000
"""Live entries of one directory: 28 MiB of leases (research/engine.md), and a list of 3 MB."""
REQUEST_BODY_BYTES_MAX: Final = 1_024
"""`UPDATE ` + 32 + `@` + 21 is 61 bytes; the rest forgives white space."""
REQUEST_HEADER_BYTES_MAX: Final = 4_096
"""One header line or the request line; a browser's longest is below it."""
REQUEST_HEADERS_MAX: Final = 64
REQUEST_DEADLINE_S: Final = 10.0
"""To send the head of a request, and again for its body; also how long an idle connection stays."""
REQUEST_LINGER_S: Final = 1.0
"""How long the rest of a refused body is read, so that its sender still gets to see the answer."""
SWEEP_S: Final = 60.0
"""How often entries that have ended are removed; until then they only take memory."""
CONNECTIONS_MAX: Final = 900
"""HTTP connections at once, below the usual limit of 1,024 open files; the oldest makes room."""
STOP_GRACE_S: Final = 5.0
"""How long requests in flight get to finish when the directory stops."""
DIRECTORY_TIMEOUT_S: Final = 3.0
"""How long a node waits for the directory: a lookup takes a millisecond on a LAN."""
DIRECTORY_REQUESTS_MAX: Final = 32
"""Requests of one node at once: a SEND_MULTI to a lecture hall must not flood the directory."""
SILENT_TRIES_MAX: Final = 3
"""How often the default port may be taken and silent before a person is told."""
OPEN_FILES_WANTED: Final = 4_096
"""Asked of the system at the start, as far as it allows: connections and what waits to be one."""
PROBE_TIMEOUT_S: Final = 1.0
"""How long the default port on this machine gets to prove that it is a directory."""
LIST_BYTES_MAX: Final = 8 * 1_024 * 1_024
"""Largest list a node reads: 100,000 entries of the longest kind are 5.5 MB."""
ERROR_BYTES_MAX: Final = 200
"""How much of a directory's refusal is shown to a person."""
HOST_TRIES_MAX: Final = 20
"""Rounds of `who has the port?` when several chats start at once; each takes 0.1 s or less."""
