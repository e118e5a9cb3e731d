"""Who is who: keys and what they sign, sealed mail, safety numbers, and what is believed of a name.

A pure room: no sockets, disk, clock or log. The one exception is entropy inside the crypto library.
Specification: docs/spec/identity.md, docs/spec/mail.md.
"""
