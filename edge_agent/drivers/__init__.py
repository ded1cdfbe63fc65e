"""Drivers: what an agent can ask of its proxy, one contract for every kind of proxy.

``base.py`` is the contract, ``envoy/`` the real thing, ``memory.py`` the same in memory for tests
and benches. One suite, ``tests/edge_agent/test_driver_contract.py``, holds all of them to it.
"""
