"""Benches: one file a question, run as ``python -m bench.NAME [--json]``.

Each prints what it measured, on what machine, and the anchor it is compared with, so that a figure
in the documents can be made again by anyone. No test asserts a performance figure; benches report.
Servers and load generators are real and stay on the loopback interface.
"""
