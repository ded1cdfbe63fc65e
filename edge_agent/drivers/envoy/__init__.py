"""The Envoy driver: file-based xDS, a staging listener, evidence from the proxy's own answers.

``driver.py`` tells the story; ``resources.py`` says what Envoy is given, ``bootstrap.py`` how it is
set up, ``process.py`` how it is owned, ``admin.py`` what it is asked. docs/proxies.md is for operators.
"""
