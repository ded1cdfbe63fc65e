"""A whole fleet of real processes on this machine, for `turnout dev`, its demo, benches and tests.

etcd, coordinators, edge agents with their Envoys, sample backends and load generators are started
as programs, never in-process (``running.py``, ``fleet.py``, ``traffic.py``). A keeper above them all sees to it that
nothing of a fleet is left, neither process nor file, however its owner ends (``keeper.py``).
"""
