import io
import resource

import pytest

from upwell.policy.promotion.verification.job_results import Findings
from upwell.policy.promotion.verification.junit import Report
from upwell.reconcilers.promotion import evidence
from upwell.reconcilers.promotion.report_reading import run
from upwell.workers.child import answer
from upwell.workload.interface import ContainerFile

GOOD = b'<testsuite><testcase name="a"/><testcase name="b"><failure/></testcase></testsuite>'


async def findings(*contents: bytes) -> Findings:
    files = [ContainerFile(f"{at}.xml", content, 0) for at, content in enumerate(contents)]
    return await evidence._findings(files)


async def test_reports_are_read_together() -> None:
    found = await findings(GOOD, b"<html/>", GOOD)
    assert found.report == Report(tests=4, failures=2, failed=("b", "b"))
    assert found.fault == "1.xml: the document is a 'html'"


@pytest.mark.parametrize("encoding", ["windows-1252", "iso-8859-15", "utf-16", "koi8-r", "cp850"])
async def test_reports_in_old_encodings_are_read(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>' + GOOD.decode()
    found = await findings(text.encode(encoding))
    assert (found.report.tests, found.fault) == (2, "")


async def test_a_report_of_a_million_attributes_costs_the_server_nothing() -> None:
    attributes = b"".join(b' a%d=""' % at for at in range(1_200_000))
    hostile = b"<testsuite" + attributes + b"><testcase/></testsuite>"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = await findings(hostile)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 48 * 1024
    assert "256 MiB of memory" in found.fault or found.report.tests == 1


@pytest.mark.parametrize("said", [[], [{}], [{"tests": "x"}], {}, None, [1, 2]])
async def test_a_worker_is_not_believed(said: object, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lying(*_: object) -> object:
        return said

    monkeypatch.setattr(evidence, "run_worker", lying)
    found = await findings(GOOD)
    assert found.report == Report()
    assert "worker" in found.fault


def test_the_task_tells_reports_apart_by_their_sizes() -> None:
    found = answer(run, io.BytesIO(GOOD + b"junk"), {"sizes": [len(GOOD), 4]})
    assert [one.get("tests") for one in found["result"]] == [2, None]
