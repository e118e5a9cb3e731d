"""What a profile keeps on disk: one SQLite file and a lock. It stores, and decides nothing."""
