"""The chaos harness: real processes, hurt on purpose, judged by the protocol's own invariants.

It starts etcd, coordinators, agents and proxies as programs, cuts and pauses and kills them under load,
records what operators and clients saw, and checks the record with ``turnout.protocol``'s predicates.
A verdict has three values: valid, invalid, unknown; every random choice comes from a printed seed.
"""
