"""The I/O shells both daemons share: they carry out what turnout.protocol decides.

HTTP, the store, TLS, clocks, metrics, logs and configuration, all on trio. Nothing in here
decides anything about a switch; whoever looks for a rule finds it in turnout.protocol.
"""
