"""Who looks on: what is remembered of a run, and the invariants over it.

``witness.py`` fills the picture for S1-S7 and has it judged whenever something in it has changed;
``chronicle.py`` remembers what happened when, for S8-S11 and L1-L3, which ``course.py`` has judged. They
ask of a node no more than it shows (``world.py``, ``AgentSeen`` and ``ReplicaSeen``), so that the random
histories of ``tests/protocol`` are judged by them too.
"""
