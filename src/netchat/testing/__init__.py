"""The simulator: real pumps over real stores, in a world whose clock, network and disk obey a seed.

What is real and what is not: decision 0008. From below: ``world`` is time and chance, ``network``
who reaches whom, ``wires`` and ``cables`` classic connections and links as they fail, ``disk`` what
a crash leaves and ``watch`` what no write may do, ``directory`` names and mailboxes. ``profile`` is
what is one person's, and ``machine`` its node without sockets, with ``links``, ``courier``,
``post`` and ``registration`` for what the modules of those names do in ``node``. ``workload`` is
what people and fate do, ``checkers`` what must hold, ``plants`` what may be broken on purpose, and
``scorecard`` runs many seeds and counts. ``netchat sim --seed N --trace`` replays one.
"""
