from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.skip_policy import ALLOWED_SKIPS, read_allowed_skips

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]

SAMPLE = """
import pytest

def test_that_runs():
    pass

@pytest.mark.skip(reason="no etcd here")
def test_skipped_by_mark():
    pass

@pytest.mark.parametrize("n", [1])
def test_skipped_inside(n):
    pytest.skip("no wrk here")

@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    raise AssertionError
"""


@pytest.fixture
def allowed_skips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "allowed.toml"
    path.write_text("", encoding="utf-8")
    monkeypatch.setattr("tests.skip_policy.ALLOWED_SKIPS", path)
    return path


def test_unlisted_skips_fail_and_say_what_to_do(
    pytester: pytest.Pytester, allowed_skips: Path
) -> None:
    pytester.makepyfile(test_sample=SAMPLE)
    result = pytester.runpytest_inprocess("-p", "tests.skip_policy")
    # A mark is obeyed during set-up, and a failure there is what pytest calls an error.
    result.assert_outcomes(passed=1, failed=1, errors=1, xfailed=1)
    result.stdout.fnmatch_lines(
        ["*test_skipped_by_mark was skipped: *no etcd here*", "*was skipped: *no wrk here*"]
    )


def test_listed_skips_stay_skips(pytester: pytest.Pytester, allowed_skips: Path) -> None:
    allowed_skips.write_text(
        '[[skip]]\ntest = "test_sample.py::test_skipped_by_mark"\nreason = "shown to work"\n'
        '[[skip]]\ntest = "test_sample.py::test_skipped_inside"\nreason = "for every n"\n',
        encoding="utf-8",
    )
    pytester.makepyfile(test_sample=SAMPLE)
    result = pytester.runpytest_inprocess("-p", "tests.skip_policy")
    result.assert_outcomes(passed=1, skipped=2, xfailed=1)


def test_unlisted_skip_of_a_whole_module_fails(
    pytester: pytest.Pytester, allowed_skips: Path
) -> None:
    pytester.makepyfile(test_sample="import pytest\npytest.importorskip('no_such_module')\n")
    result = pytester.runpytest_inprocess("-p", "tests.skip_policy")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*test_sample.py was skipped: *no_such_module*"])


def test_entry_without_a_reason_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "allowed.toml"
    path.write_text('[[skip]]\ntest = "tests/test_a.py::test_b"\nreason = " "\n', encoding="utf-8")
    with pytest.raises(pytest.UsageError, match="needs a test and a reason"):
        read_allowed_skips(path)


def test_every_allowed_skip_names_a_file_that_exists() -> None:
    root = ALLOWED_SKIPS.parent.parent
    for test in read_allowed_skips(ALLOWED_SKIPS):
        assert (root / test.partition("::")[0]).is_file(), f"{test} is gone: remove its entry"
