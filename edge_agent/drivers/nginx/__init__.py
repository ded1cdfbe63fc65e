"""The nginx driver: tables in shared memory, read by Lua; one entry of it is the flip, and none reloads.

``driver.py`` is the contract; ``config.py`` says how nginx is set up, ``slot.py`` what a table is,
``turnout.lua`` what nginx does with it. docs/proxies.md is for operators.
"""
