"""Messages of HAProxy, as people read them."""

from upwell.router.haproxy.router import _alerts

REFUSED = """\
[NOTICE]   (28728) : haproxy version is 3.0.11
[NOTICE]   (28728) : path to executable is /usr/sbin/haproxy
[ALERT]    (28728) : config : parsing [/data/haproxy.cfg:10] : unknown keyword 'foo'
[ALERT]    (28728) : config : Fatal errors found in configuration.
"""


def test_only_faults_are_told_and_no_process_id_that_changes_with_every_try() -> None:
    assert _alerts(REFUSED) == (
        "config : parsing [/data/haproxy.cfg:10] : unknown keyword 'foo'; "
        "config : Fatal errors found in configuration."
    )


def test_a_text_without_alerts_is_told_as_it_is() -> None:
    assert _alerts(" haproxy: not found\n") == "haproxy: not found"
    assert _alerts("") == ""
