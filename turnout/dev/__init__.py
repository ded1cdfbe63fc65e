"""`turnout dev`: a whole fleet of real processes on this machine, and the demo that plays on it.

etcd, coordinators, edge agents with their Envoys, sample backends and load generators are started
as programs, never in-process. A keeper above them all sees to it that nothing of a fleet is left,
neither process nor file, however its owner ends (``keeper.py``).
"""
