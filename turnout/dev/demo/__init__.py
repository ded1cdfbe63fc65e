"""The demo: what is played on a fleet, and how it is shown.

Only this and ``turnout.dev.main`` speak as the command does, and so import ``turnout.cli``; all else
in ``turnout.dev`` is for whoever wants a fleet.
"""
