"""How the commands of ``turnout sim`` end: one number that a script can rely on."""

from __future__ import annotations

from enum import IntEnum

from simulator.results import SweepResult, Verdict


class SimExit(IntEnum):
    """What was found; above the numbers of the other commands."""

    VALID = 0
    INVALID = 10
    TOO_WEAK = 11
    UNKNOWN = 12


_OF_VERDICT = {
    Verdict.VALID: SimExit.VALID,
    Verdict.INVALID: SimExit.INVALID,
    Verdict.UNKNOWN: SimExit.UNKNOWN,
}

EXIT_CODES = (
    "Exit codes: 0 valid, 10 invalid, 12 unknown, 2 usage or a bad scenario, 130 interrupted."
)
EXIT_CODES_OF_SWEEP = EXIT_CODES.replace("12 unknown", "11 too weak, 12 unknown")
EXIT_CODES_OF_EXPLORE = (
    "Exit codes: 0 valid, 10 invalid, 12 not exhausted at a limit, 2 usage, 130 interrupted."
)


def exit_code_of(verdict: Verdict) -> int:
    """The exit code of one run."""
    return int(_OF_VERDICT[verdict])


def exit_code_of_sweep(sweep: SweepResult) -> int:
    """The exit code of a sweep: one that found nothing and could have found little is too weak."""
    if sweep.verdict is Verdict.VALID and sweep.is_too_weak:
        return int(SimExit.TOO_WEAK)
    return exit_code_of(sweep.verdict)
