"""Trace contexts and their text form (W3C traceparent)."""

from upwell.formats.trace_context import TraceContext


def test_a_context_survives_its_text_form() -> None:
    context = TraceContext.root("a").child("b")
    assert TraceContext.parse(str(context)) == context
    assert str(context).split("-")[0::3] == ["00", "01"]
