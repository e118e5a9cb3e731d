"""Sockets between peers. It opens, listens, reads and writes; it decides nothing."""
