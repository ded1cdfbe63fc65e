"""What only some reports need, and how to get it."""

from __future__ import annotations

from importlib.util import find_spec


class ExtraMissingError(Exception):
    """A package of the extra ``sim`` is not installed."""


def need(*packages: str) -> None:
    """Raises ExtraMissingError, which says what to install, where one of the packages is missing."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ExtraMissingError(
            f"This needs {' and '.join(missing)}, which is not installed: pip install 'turnout[sim]'"
        )
