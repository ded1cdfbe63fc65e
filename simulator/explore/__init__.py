"""The exhaustive check: every world that a small fleet can come to, judged by the invariants.

``turnout sim explore`` is the command, ``README.md`` says what is explored and what that proves.
Begin with ``worlds.py`` (what is searched), then ``search.py`` (how) and ``steps.py`` (what can happen).
"""
