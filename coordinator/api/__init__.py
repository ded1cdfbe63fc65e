"""The coordinator's HTTP interface, one noun a file; ``application.py`` lists the addresses.

A handler turns a request into a question to the machine, waits for its answer, and shows it. What
is refused is a problem document. Only the leader answers: others redirect to it (``leading.py``).
"""
