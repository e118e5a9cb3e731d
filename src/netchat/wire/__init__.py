"""Bytes to model and back. No I/O, no time; nothing else in the program knows a byte offset."""
