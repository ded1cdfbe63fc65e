"""The coordinator daemon: asks every agent, gets the one decision into etcd, and tells the fleet.

It owns no rule of the switch: ``turnout.protocol.coordinator`` decides, this room wires that machine
to the store, to the agents' held streams and to the operator API. One to five replicas run; the one
that holds the leader key decides, the others redirect to it. Start reading at ``daemon.py``.
"""
