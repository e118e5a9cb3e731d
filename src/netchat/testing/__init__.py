"""The simulator: real pumps over real stores, in a world whose clock, network and disk obey a seed.

``world`` is time and chance, ``network`` the wires between machines, ``disk`` what a crash leaves,
``machine`` a node without sockets, ``workload`` what people do, ``checkers`` what must hold, and
``scorecard`` runs many seeds and counts. ``netchat sim --seed N --trace`` replays one.
"""
