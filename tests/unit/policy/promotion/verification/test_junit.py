"""JUnit reports of real tools, and of those that lie."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.policy.promotion.verification.junit import (
    InvalidReportError,
    Report,
    parse_report,
    printed_reports,
)

SUREFIRE = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuite xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" name="shop.CartTest" time="0.9"
    tests="4" errors="1" skipped="1" failures="1">
  <properties><property name="java.version" value="21"/></properties>
  <testcase name="adds" classname="shop.CartTest" time="0.1"/>
  <testcase name="pays" classname="shop.CartTest" time="0.1">
    <failure message="expected 3" type="AssertionFailedError"><![CDATA[at shop.CartTest]]></failure>
    <system-out><![CDATA[<failure/>]]></system-out>
  </testcase>
  <testcase name="ships" classname="shop.CartTest"><error type="NullPointerException"/></testcase>
  <testcase name="later" classname="shop.CartTest"><skipped message="not yet"/></testcase>
</testsuite>"""

PYTEST = b"""<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests">
<testsuite name="pytest" errors="1" failures="0" skipped="0" tests="2" time="0.03">
<testcase classname="test_web" name="test_home[/]" time="0.001" />
<testcase classname="test_web" name="test_db"><error message="teardown">x</error></testcase>
</testsuite></testsuites>"""

GO = b"""<testsuites tests="3" failures="1" errors="0" time="0.1">
<testsuite tests="2" failures="1" name="shop/cart"><properties></properties>
<testcase classname="shop/cart" name="TestAdd"></testcase>
<testcase classname="shop/cart" name="TestPay"><failure message="Failed" type=""/></testcase>
</testsuite>
<testsuite tests="1" failures="0" name="shop/web"><testcase classname="shop/web" name="TestHome"/>
</testsuite></testsuites>"""

GOOGLE_TEST = b"""<testsuites tests="2" failures="0" disabled="1" errors="0" name="AllTests">
<testsuite name="Cart" tests="2" failures="0" disabled="1" skipped="0" errors="0">
<testcase name="Adds" status="run" result="completed" classname="Cart" />
<testcase name="DISABLED_Pays" status="notrun" result="suppressed" classname="Cart" />
</testsuite></testsuites>"""

RETRIED = b"""<testsuite name="a" tests="2" failures="1" errors="0">
<testcase name="flaky"><flakyFailure message="once"/></testcase>
<testcase name="broken"><failure/><rerunFailure/><rerunFailure/></testcase></testsuite>"""


@pytest.mark.parametrize(
    ("content", "report", "text"),
    [
        (
            SUREFIRE,
            Report(4, 1, 1, 1, ("shop.CartTest.pays", "shop.CartTest.ships")),
            "3 tests, 2 failed (shop.CartTest.pays, shop.CartTest.ships)",
        ),
        (PYTEST, Report(2, 0, 1, 0, ("test_web.test_db",)), "2 tests, 1 failed (test_web.test_db)"),
        (GO, Report(3, 1, 0, 0, ("shop/cart.TestPay",)), "3 tests, 1 failed (shop/cart.TestPay)"),
        (GOOGLE_TEST, Report(2, 0, 0, 1), "1 tests, 0 failed"),
        (RETRIED, Report(2, 1, 0, 0, ("broken",)), "2 tests, 1 failed (broken)"),
        (b"<testsuite/>", Report(), "0 tests, 0 failed"),
    ],
    ids=["surefire", "pytest", "go", "googletest", "retried", "empty"],
)
def test_reports_are_counted_as_their_tests_stand_there(
    content: bytes, report: Report, text: str
) -> None:
    found = parse_report(content)
    assert found == report
    assert str(found) == text


def test_a_suite_that_claims_more_failures_than_it_shows_is_believed() -> None:
    crashed = b'<testsuites errors="1"><testsuite tests="0" errors="1"/></testsuites>'
    assert parse_report(crashed).bad == 1


def test_a_suite_cannot_hide_the_failures_of_its_tests() -> None:
    hiding = b'<testsuite failures="0"><testcase name="a"><failure/></testcase></testsuite>'
    assert parse_report(hiding).bad == 1


def test_several_reports_are_one() -> None:
    both = parse_report(SUREFIRE) + parse_report(GO)
    assert (both.tests, both.bad, both.ran) == (7, 3, 6)
    assert both.failed == ("shop.CartTest.pays", "shop.CartTest.ships", "shop/cart.TestPay")


LAUGHS = b'<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><testsuite name="&b;"/>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a JUnit report: no element found"),
        (b"all tests passed", "not a JUnit report"),
        (b"<testsuite><testcase/>", "not a JUnit report"),
        (b"<html><body>404</body></html>", "the document is a 'html'"),
        (LAUGHS, "a document type is not allowed"),
        (b'<testsuite failures="-1"/>', "failures='-1' is no count"),
        (b'<testsuite failures="lots"/>', "failures='lots' is no count"),
        (b'<testsuite errors="99999999999999999999"/>', "is no count"),
        (b"<testsuite>" * 65, "nested more than 64 deep"),
        (b"<testsuite>" + b"<testcase/>" * 500_001 + b"</testsuite>", "more than 500000 tests"),
        (b'<?xml version="1.0" encoding="no-such"?><testsuite/>', "not a JUnit report"),
    ],
)
def test_what_is_no_report_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(InvalidReportError, match=message.replace("(", r"\(")):
        parse_report(content)


def test_names_are_cut() -> None:
    case = f'<testcase name="{"x" * 9999}"><failure/></testcase>'
    found = parse_report(f"<testsuite>{case * 50}</testsuite>".encode())
    assert found.bad == 50
    assert [len(name) for name in found.failed] == [200] * 5


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_nothing_that_arrives_is_a_fault_of_ours(content: bytes) -> None:
    for wrapped in (content, b"<testsuite>" + content + b"</testsuite>"):
        with contextlib.suppress(InvalidReportError):
            assert parse_report(wrapped).tests >= 0


def test_all_reports_in_a_log_count() -> None:
    log = b"collected 3\n" + PYTEST + b"\nPASS <testsuitesque>\n" + SUREFIRE + b"\ndone\n"

    first, second = map(parse_report, printed_reports(log))
    assert (first, second) == (parse_report(PYTEST), parse_report(SUREFIRE))
    assert printed_reports(b"3 passed") == ()


@pytest.mark.parametrize("log", [PYTEST[:-5], b"<testsuites " * 90_000, b"<testsuites/>"])
def test_a_report_without_an_end_is_none(log: bytes) -> None:
    with pytest.raises(InvalidReportError, match="has no </testsuites>"):
        printed_reports(log)


def test_more_reports_than_files_are_refused() -> None:
    assert len(printed_reports(b"<testsuite></testsuite>" * 2000)) == 2000
    with pytest.raises(InvalidReportError, match="more than 2000"):
        printed_reports(b"<testsuite></testsuite>" * 2001)
