"""The HAProxy driver: maps in slots, one ``set map`` as the flip, servers through the runtime API.

``driver.py`` tells the story; ``config.py`` says how HAProxy is set up, ``pool.py`` which backends it
has, ``slot.py`` what a table is in maps, ``cli.py`` how it is asked. docs/proxies.md is for operators.
"""
