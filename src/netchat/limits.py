"""Every bound in the program, with its reason. Nothing from outside is taken without one.

Units come last in a name. A preference that a person may want to change is a flag, not a limit.
"""

from typing import Final

# --- names and addresses (classic.md, "Names") ---------------------------------------------------
NAME_CHARS_MAX: Final = 32
"""Of the classic grammar, and what a column of a list can show."""
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

# --- the link (docs/spec/link.md, docs/spec/frames.md) -------------------------------------------
TEXT_BYTES_MAX: Final = 65_536
"""One message between nodes, as UTF-8: a long log pasted; larger things are files."""
FRAME_BYTES_BEFORE_HELLO_MAX: Final = 65_536
"""A stranger's first frame is its record: 2 KiB; this is what one costs in memory until then."""
FRAME_BYTES_MAX: Final = 1_024 * 1_024
"""After HELLO: a full batch of items, or the largest single message with room to spare."""
FRAME_ITEMS_MAX: Final = 256
"""Items in one frame: one engine step and one commit (measured: larger gains nothing)."""
RANGES_MAX: Final = 1_024
"""Ranges in one receipt: more than a frame of items can have."""
HOLES_MAX: Final = 128
"""Holes that we remember in what one peer sent us, written with each batch of it: as many envelopes
may be late. What lies above more of them is taken all the same, and may be told as missing."""
SEQ_MAX: Final = 2**53 - 1
"""Numbers of an outbox: exact in every language that a peer may be written in."""
HLC_BITS_COUNTER: Final = 12
"""A hybrid logical clock is milliseconds since 1970, shifted by this, plus a counter."""
HLC_MAX: Final = 2**63 - 1
"""What a SQLite integer holds."""
HLC_AHEAD_MS_MAX: Final = 400 * 86_400_000
"""How far a peer's clock is followed ahead of ours: beyond a year wrong, its messages sort late."""
LINK_HELLO_S: Final = 5.0
"""From the first byte of a link to its HELLO: two round trips and a busy machine."""
LINK_PING_S: Final = 20.0
"""Silence after which the other end is asked whether it lives."""
LINK_SILENCE_S: Final = 40.0
"""Silence after which it does not: two pings unanswered."""
CODE_CHARS_MAX: Final = 32
"""A result, the reason of a BYE, or a capability: a word or three, with dashes."""
LINKS_MAX: Final = 2_048
"""Links of one node: 64 KiB each (bench/links.py), so 128 MiB; a large lecture hall is 300."""
LINKS_HALF_OPEN_MAX: Final = 128
"""Links before HELLO, all strangers together: a handshake is 1 ms of CPU, so 5 s of backlog."""
LINKS_HALF_OPEN_PER_ADDRESS_MAX: Final = 16
"""The same from one address: one machine with several profiles, or a home behind one address."""
HANDSHAKES_PER_ADDRESS_S_MAX: Final = 20.0
"""New links a second from one address, in bursts of twice that; 2 % of a core each."""
HANDSHAKES_BYTES_MAX: Final = 65_536
"""TLS bytes before the handshake ends: certificates of ours have 300 bytes."""
LINK_WRITE_BYTES_MAX: Final = 1_024 * 1_024
"""Bytes waiting to be written to one peer before its window closes."""
LINK_DEAF_BYTES_MAX: Final = 8 * 1_024 * 1_024
"""The same, for a peer that keeps asking and never reads the answers: twice what a window holds."""
LINK_BARREN_BYTES_MAX: Final = 65_536
"""TLS bytes in a row without any of ours inside: a whole record has 16 KiB, a key update 27 bytes.
OpenSSL counts no key updates."""
WINDOW_ITEMS_MAX: Final = 4_096
"""Items on a link without a receipt: 25,000/s over a round trip of 160 ms."""
WINDOW_BYTES_MAX: Final = 4 * 1_024 * 1_024
"""The same in bytes of text."""
IDENTITY_FILE_BYTES_MAX: Final = 16_384
"""An OpenSSH key file has 400 bytes."""
PASSPHRASE_ROUNDS: Final = 64
"""bcrypt rounds of a locked identity: half a second for each guess."""
PASSPHRASE_ROUNDS_MAX: Final = 1_024
"""Of a file that is imported: 8 s; a hostile one could else keep the machine busy for days."""

# --- sealed mail (docs/spec/mail.md) -------------------------------------------------------------
ENVELOPE_BYTES_MAX: Final = 128 * 1_024
"""One sealed message: the longest text, padded, with its seal."""
ENVELOPE_ITEMS_MAX: Final = 64
"""Items that share an envelope; also bounds what one sealed batch of small messages reveals."""
MAIL_TTL_MS: Final = 7 * 86_400_000
"""How long a mailbox keeps an envelope: a week away; the sender keeps its own copy longer."""
PREKEY_ROTATION_MS: Final = 86_400_000
"""A new prekey daily while online: a stolen disk opens the mail of few days."""
PREKEY_GRACE_MS: Final = MAIL_TTL_MS + 86_400_000
"""After it was superseded: what is still on its way may need its secret this long."""
PREKEY_UNTIL_MS: Final = 30 * 86_400_000
"""How long a record offers its prekey; past it mail waits in the sender's outbox."""
MAILBOX_ENVELOPES_MAX: Final = 10_000
"""Of one recipient."""
MAILBOX_PER_DEPOSITOR_MAX: Final = 2_500
"""Of one depositor to one recipient: no single neighbour fills a mailbox."""
MAILBOX_BYTES_MAX: Final = 64 * 1_024 * 1_024
"""Of one recipient: 10,000 short messages, sealed, have 23 MB. One depositor gets a quarter."""
MAIL_BYTES_MAX: Final = 8 * 1_024**3
"""Of a whole directory: keys are free, so only this keeps strangers from filling its disk."""
MAIL_FETCH_MAX: Final = 64
"""Envelopes in one answer to a fetch; PAGE_BYTES_MAX ends it sooner."""
MAIL_SETTLE_S: Final = 10.0
"""How long what was in an envelope may take to the disk before the mailbox keeps it for later."""
PINS_CACHED_MAX: Final = 1_024
"""Of these, how many are kept in memory with their records: 5 KiB each."""
PINS_MAX: Final = 100_000
"""Names that a profile remembers before strangers may bring no new ones: 250 MB of records."""
HELD_MAX: Final = 1_000
"""Envelopes held because of a key that nobody decided on, all names together: 128 MiB at most."""
HELD_PER_SENDER_MAX: Final = 250
"""The same of one key under one name, so that the other key of that name still finds room."""

# --- records and names (docs/spec/records.md) ----------------------------------------------------
RECORD_BYTES_MAX: Final = 8_192
"""A record with a prekey has 1.9 KB; eight addresses and a second signature fit well."""
RECORD_ADDRESSES_MAX: Final = 8
"""Of one node: both families on four networks; a dial tries them one after the other."""
RECORD_CAPABILITIES_MAX: Final = 16
"""Words for what a node can do; there is none so far."""
REQUEST_ARGUMENTS_MAX: Final = 8
"""Of one signed request; none of ours has more than two."""
NONCE_BYTES_MAX: Final = 64
"""A nonce that a directory makes: time, random bytes and an HMAC with room to spare."""
RECORD_AHEAD_MS_MAX: Final = 2 * 86_400_000
"""How far ahead of the directory's clock a record may be issued: a wrong time zone, and more."""
NONCE_LIFE_MS: Final = 60_000
"""From asking for a nonce to the signed request: a round trip, and a busy machine."""
NONCES_SPENT_MAX: Final = 100_000
"""Nonces remembered as used: 1,600 signed requests a second for their whole life."""
CLAIMS_MAX: Final = 100_000
"""Names that keys hold in one directory, as many as it lists; a record each, so 200 MB."""
LOG_ENTRIES_MAX: Final = 1_000_000
"""Of the name log, which only grows: ten for each name, and 200 MB."""
LOG_PAGE_MAX: Final = 1_000
"""Entries in one answer: 200 KB."""
LIST_PAGE_MAX: Final = 1_000
"""Records looked at for one answer, which PAGE_BYTES_MAX ends sooner."""
PAGE_BYTES_MAX: Final = 512 * 1_024
"""Records or envelopes in one answer: in 3 s over 2 Mbit/s, base64 and all."""
LIVE_MAX: Final = 1_000
"""Keys that wait for their mail at once, beside CONNECTIONS_MAX; above it they have to ask."""
LIVE_PER_ADDRESS_MAX: Final = 250
"""The same from one address: keys are free, and a classroom may sit behind one."""
LIVE_PING_S: Final = 20.0
"""Silence after which such a connection is asked whether it lives; half of it later it is cut."""
LIVE_MESSAGE_BYTES_MAX: Final = 4_096
"""What may come there is one signed request of 700 bytes."""
SIGNED_BODY_BYTES_MAX: Final = 256 * 1_024
"""A request with an envelope in base64, or a record."""

# --- connections that others open to a node ------------------------------------------------------
ARRIVALS_MAX: Final = 512
"""Open connections; above it the oldest makes room, so who is silent or slow blocks nobody."""
ARRIVAL_DEADLINE_S: Final = 5.0
"""From accept to the end of the message; a byte every 50 ms still brings a short one through."""
ARRIVALS_WAITING_MAX: Final = 1_024
"""Whole messages that wait for the disk; above it senders are turned away and keep theirs."""
CLAIM_CHECK_S: Final = 0.2
"""How long the directory is asked whether a key holds the name of a classic text: its sender looks
for ``CLOSE_WAIT_S`` whether the text is kept."""
CLAIM_CHECKS_MAX: Final = 8
"""Such questions at once: a flood of names must not become one at the directory."""
CLAIMS_KEPT_S: Final = 30.0
"""How long its answer is believed: a claim made meanwhile is noticed so much later."""
CLAIMS_KEPT_MAX: Final = 1_024
"""Answers kept, 100 KiB; at more it starts over."""
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
"""The first pause after a way has failed, doubled from there: a restart takes about as long."""
RETRY_MS_MAX: Final = 15_000
"""A peer that comes back gets its messages within this; an absent one costs a lookup as often."""
RETRY_STORED_MS_MAX: Final = 120_000
"""The same when all of it lies in the mailbox: its owner is woken, and comes to us."""
ORPHANS_MS: Final = 90 * 24 * 3_600_000
"""How long a delete waits for the message that it means: far above EXPIRY_MS."""
ADDRESS_AGE_MS_MAX: Final = 10 * 60_000
"""How old an address may be that is dialled because the directory does not answer. Ports change
owners: an older one may be a stranger's, and classic messages are plain text."""
EXPIRY_MS: Final = 30 * 24 * 3_600_000
"""A message waits 30 days, longer than most are away, then says that it expired."""
RECIPIENTS_MAX: Final = 300
"""Of one SEND_MULTI: a large lecture hall."""
SEND_WAIT_S: Final = 10.0
"""How long a send waits for its outcome before it says `queued`: a person looks away by then."""
EXIT_WAIT_S: Final = 5.0
"""classic.md, EXIT: how long leaving may take."""

# --- the engine and its disk ---------------------------------------------------------------------
BATCH_INPUTS_MAX: Final = 256
"""Inputs that share one commit: past this, larger batches gained nothing (measured)."""
RECEIPTS_NOTED_MAX: Final = 16
"""Inputs that note receipts before a commit, when nothing else brings one: 4,000 messages."""
RECEIPTS_NOTED_S: Final = 0.002
"""How long such notes wait for something to share a commit with."""
WORKER_QUEUE_MAX: Final = 10_000
"""Inputs and questions that wait for the writer thread."""
WORKER_BYTES_MAX: Final = 8 * 1_024 * 1_024
"""What waits there in bytes of text: two whole windows, a second of work. Above it links and
strangers wait, and TCP tells them so."""
PAGE_MESSAGES_MAX: Final = 500
"""Messages read from history at once, so that a READ of ten years stays small in memory."""
MISSING_SHOWN_MAX: Final = 10_000
"""Up to here a person is told how many messages never came; more is a claim of their author's."""
EVENTS_WAITING_MAX: Final = 10_000
"""Events that a face has not taken yet; above it the face is told that it missed some."""
STORE_RETRY_S: Final = 1.0
"""Pause before an input that the disk refused is tried again."""
CHECKPOINT_PAGES: Final = 4_000
"""Of SQLite's log before it is worked into the file: 16 MB, so that a burst does so seldom."""
BUSY_TIMEOUT_MS: Final = 5_000
"""How long SQLite waits for another process's lock (a backup tool reading the file)."""

# --- the prompt ----------------------------------------------------------------------------------
LINE_BYTES_MAX: Final = 2 * 65_536
"""One typed or piped line: the longest text and 300 names, with room to say that a text is too
long; more is an invalid command, never an endless buffer."""

TAB_WAIT_S: Final = 0.5
"""How long Tab waits for the directory before it offers the names known so far."""
TYPED_LINES_BYTES_MAX: Final = 1_024 * 1_024
"""What the arrow keys remember: some ten thousand lines, read whole at every start."""

# --- the directory -------------------------------------------------------------------------------
PORT_DEFAULT: Final = 7_800
"""Of a directory: above the ports that only root may open."""
LEASE_S: Final = 60
"""How long an address outlives its owner, who refreshes it three times meanwhile."""
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
"""Live entries of one directory: 28 MiB of leases, and a list of 3 MB."""
REQUEST_BODY_BYTES_MAX: Final = 1_024
"""`UPDATE ` + 32 + `@` + 21 is 61 bytes; the rest forgives white space."""
REQUEST_HEADER_BYTES_MAX: Final = 4_096
"""One header line or the request line; a browser's longest is below it."""
REQUEST_HEADERS_MAX: Final = 64
"""A browser sends twenty."""
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
