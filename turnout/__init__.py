"""Turnout moves all of a service's traffic, in every region, from one colour to the other.

Everywhere or nowhere, inside 30 seconds, with no request lost. Start reading at
``turnout/protocol/README.md`` (what is decided), then ``coordinator/daemon.py`` and
``edge_agent/daemon.py`` (who carries it out).
"""
