"""Ports of tests are given once, by one process only, and never while somebody listens there."""

import socket
import subprocess
import sys

from tests.support.paths import ROOT
from tests.support.ports import BLOCK, FIRST, claim, free_port

_ASK = "from tests.support.ports import free_port; print(free_port()); input()"


def other_process() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _ASK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_a_port_is_given_once_by_the_processes_that_live() -> None:
    with other_process() as one, other_process() as two:
        assert one.stdout is not None
        assert two.stdout is not None
        given = [free_port(), int(one.stdout.readline()), int(two.stdout.readline())]

        blocks = {(port - FIRST) // BLOCK for port in given}
        one.communicate("\n")
        two.communicate("\n")

    assert len(blocks) == 3


def test_a_claim_ends_with_its_process() -> None:
    with other_process() as one:
        assert one.stdout is not None
        port = int(one.stdout.readline())
        first = port - (port - FIRST) % BLOCK
        taken = claim(first)
        one.communicate("\n")

    assert not taken
    assert claim(first)


def test_a_port_at_which_somebody_listens_is_passed_over() -> None:
    taken = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.9", taken))
        listener.listen()

        given = {free_port() for _ in range(BLOCK)}  # once round, at least

    assert taken not in given
