"""What can go wrong with the store, as one tree.

::

    StoreError
    ├── StoreUnavailable        nobody could serve it now; asking again later may help
    │   └── StoreTimeout        it was sent, and no answer came in time
    └── StoreRefused            the store said no; asking the same again cannot help
        ├── NotAuthorised       user, password, certificate or role do not allow it
        ├── RevisionCompacted   that revision is no longer kept: list again
        ├── RevisionAhead       that revision does not exist (a restore that went back?)
        ├── LeaseExpired        the lease is gone, and the keys tied to it
        └── StoreFull           the database has reached its quota

Every one of them means that the request was **not** carried out, with one exception:
``StoreTimeout``, and only for what can be repeated without harm (``grant``, ``revoke``,
``keep_alive``, ``compact``, reads). A transaction with an open fate is no error but the value
``Unknown``.
"""

from __future__ import annotations


class StoreError(Exception):
    """Whatever the store could not do; the text says what, why, and what to do."""


class StoreUnavailable(StoreError):  # noqa: N818 - reads as what happened, like its subclasses
    """No endpoint could serve the request: not reachable, without a leader, or closed."""


class StoreTimeout(StoreUnavailable):
    """The request was sent and not answered in time."""


class StoreRefused(StoreError):  # noqa: N818 - reads as what happened, like its subclasses
    """The store understood the request and refused it."""


class NotAuthorised(StoreRefused):
    """The store does not let us: log-in, certificate or role."""


class RevisionCompacted(StoreRefused):
    """The revision asked for has been compacted away."""


class RevisionAhead(StoreRefused):
    """The revision asked for is above the newest the store has."""


class LeaseExpired(StoreRefused):
    """The lease does not exist, or no longer."""

    @classmethod
    def of(cls, lease: int) -> LeaseExpired:
        """Say it of this lease."""
        return cls(f"the lease {lease} has expired or was revoked")


class StoreFull(StoreRefused):
    """The store takes no more data until it is compacted, defragmented or enlarged."""
