"""The simulator: the very machines of ``turnout.protocol``, run in virtual time from one seed.

Network, etcd, disks, clocks and proxies are models here, with real inter-region latencies and injected
faults; a node may be crashed between any two effects. One seed gives one trace, in any process.
It imports ``turnout.protocol`` only (a scenario file is read like any configuration), so what it proves is
proved about the code that ships.
"""
