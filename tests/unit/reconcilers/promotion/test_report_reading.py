import io

import pytest
from tests.support.memory import most_resident_kib, resident_kib

from upwell.policy.promotion.verification.job_results import Findings
from upwell.policy.promotion.verification.junit import Report
from upwell.reconcilers.promotion import evidence
from upwell.reconcilers.promotion.report_reading import run
from upwell.workers.child import answer
from upwell.workers.interface import MIB, WorkerLimits
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


# Of the first, Python asks for too much memory; of the second, the parser that it wraps.
@pytest.mark.parametrize("count", [250_000, 400_000])
async def test_a_report_of_many_attributes_costs_the_server_nothing(count: int) -> None:
    attributes = b"".join(b' a%d=""' % at for at in range(count))
    file = ContainerFile("a.xml", b"<testsuite" + attributes + b"><testcase/></testsuite>", 0)
    before = resident_kib()
    found = await evidence._findings([file], WorkerLimits(memory_bytes=64 * MIB))
    assert most_resident_kib() - before < 16 * 1024
    assert "64 MiB of memory" in found.fault


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
