"""Where every test must run, a skip is a failure with its reason, except for what is in ../shared."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
    import pytest

    def test_without_a_browser():
        pytest.skip("no chromium")

    def test_without_traces():
        pytest.skip("needs the spot traces in ../shared")

    def test_without_versions():
        pytest.skip("needs the package versions of MWAA's images in ../shared")

    @pytest.mark.skipif(True, reason="no postgres")
    def test_without_a_database():
        pass

    def test_plain():
        pass
"""


@pytest.fixture
def inner(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest((Path(__file__).parent / "conftest.py").read_text())
    return pytester


def test_a_skip_is_a_failure_where_every_test_must_run(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPOT_TESTS_REQUIRE_ALL", "1")
    inner.makepyfile(TESTS)
    result = inner.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1, errors=1, skipped=2)
    result.stdout.fnmatch_lines_random(
        ["*skipped where every test must run: no chromium*", "*every test must run: no postgres*"]
    )


def test_a_module_that_skips_itself_is_a_failure_too(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPOT_TESTS_REQUIRE_ALL", "1")
    inner.makepyfile("import pytest\npytest.importorskip('no_such_module')")
    result = inner.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*skipped where every test must run: could not import 'no_such_module'*"])


def test_a_skip_is_a_skip_on_a_developers_machine(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPOT_TESTS_REQUIRE_ALL", raising=False)
    inner.makepyfile(TESTS)
    result = inner.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, skipped=4)
