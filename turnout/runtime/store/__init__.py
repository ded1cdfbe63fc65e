"""The store: the few guarded keys on which every decision rests, for etcd and in memory.

``contract.py`` says what a store promises; ``etcd.py`` keeps the promise over the network with
several endpoints; ``memory.py`` keeps it in one process, for tests. One suite,
``tests/runtime/store/test_contract.py``, holds both to it. ``errors.py`` draws the error tree.
"""
