"""Errors of the protocol.

    ProtocolError
    ├── MalformedError      bytes from elsewhere that do not decode: the sender's fault
    ├── BadSignatureError   bytes that decode but are not signed by whom they say
    └── IllegalTransition   a machine was told something its table has no row for: our fault

A machine never raises the first two: what the gate refuses becomes a refusal effect.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """Base of all errors raised by ``turnout.protocol``."""


class MalformedError(ProtocolError):
    """Bytes that do not decode into the value they claim to be."""


class BadSignatureError(ProtocolError):
    """A signature that does not verify under the key it should."""


class IllegalTransition(ProtocolError):  # noqa: N818 - it is named as the field names it
    """A transition that the table does not have."""
