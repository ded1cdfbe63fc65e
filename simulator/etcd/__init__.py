"""A model of an etcd v3 cluster: a small Raft, revisions, leases and watches, message by message.

``knobs.py`` says what may be set and where each default comes from. ``entries.py`` has what is agreed
on, ``storage.py`` the disk, ``raft.py`` how a member agrees with the others, ``database.py`` what the
entries come to, ``leases.py`` when a lease is over, ``member.py`` one server, ``peers.py`` the
connections among them, ``quiet.py`` when heartbeats may be left out, ``cluster.py`` all of them and what an operator or a fault does to them,
``client.py`` and ``watching.py`` what a coordinator's process has of etcd.

What is faithful is what Turnout's safety and speed rest on. What is left out: snapshots of the log (it
is kept whole), changes of membership, authentication, quotas, and the known bugs of older versions.
"""
