"""The one command ``turnout``: what an operator types, and what starts the daemons.

Data goes to stdout, talk to stderr; exit codes are part of the interface. Each subcommand is a module
that imports what it needs when it runs, so ``turnout status`` does not load a proxy driver.
Ctrl-C stops watching a switch, never the switch itself.
"""
