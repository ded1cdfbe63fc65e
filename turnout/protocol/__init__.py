"""The protocol: decides everything, does nothing.

Pure machines ``step(state, event, now) -> (state, effects)``: no clock, socket, disk, randomness
or logging. ``turnout.runtime`` carries the effects out for real, ``simulator`` in virtual time.
The specification is the README.md beside this file; the hard rules open ``transitions.py``,
``fencing.py`` and ``recovery.py``. H and P numbers are stories told in the specification's last
section.
"""
