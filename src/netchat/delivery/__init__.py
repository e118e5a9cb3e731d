"""What to send, to whom and when; what counts as received. No I/O, no time, no waiting.

``engine.Engine.step(now, input) -> effects`` is the only door. ``inputs`` says what may happen,
``effects`` what follows from it; ``outbox`` and ``inbox`` hold the two halves of the rules.
"""
