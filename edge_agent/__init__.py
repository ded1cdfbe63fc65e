"""The edge agent: the daemon beside one proxy, which votes, flips it, and proves what it serves.

``turnout.protocol.participant`` decides; this room gives it a journal on the local disk, a driver for
the proxy, probes that go through the proxy, and drain counters. It dials out to a coordinator, never
talks to etcd, and needs nothing but its disk to boot and serve. Start reading at ``daemon.py``.
"""
