"""Reports of runs and sweeps: text for a terminal, JSON for programs, a page with pictures.

All of them read :mod:`simulator.results` and nothing else.
"""
