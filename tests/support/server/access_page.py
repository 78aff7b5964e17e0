"""Render the table of roles in docs/access.md: `python -m tests.support.server.access_page`."""

from collections.abc import Iterator

from tests.support.paths import ROOT

from upwell.policy.access.roles import RULES, Role, Rule

PAGE = ROOT / "docs" / "access.md"
_START, _END = "<!-- roles -->\n", "<!-- /roles -->"


def render(page: str) -> str:
    """Return the page with the table as the policy is now."""
    before, _, rest = page.partition(_START)
    _, _, after = rest.partition(_END)
    return f"{before}{_START}\n{'\n'.join(_table())}\n\n{_END}{after}"


def _table() -> Iterator[str]:
    yield "| role | may | on |"
    yield "| --- | --- | --- |"
    common = RULES[Role.VIEWER]
    for role, rules in RULES.items():
        own = rules if role is Role.VIEWER else [rule for rule in rules if rule not in common]
        for number, rule in enumerate(own):
            extends = role is not Role.VIEWER and set(common) <= set(rules)
            name = f"{role}, a viewer too" if extends else str(role)
            yield f"| {'' if number else name} | {_listed(rule.verbs)} | {_subjects(rule)} |"


def _subjects(rule: Rule) -> str:
    resources = _listed(rule.resources)
    parts = sorted(rule.parts - {""})
    if not parts or "*" in parts:
        return resources
    return f"{', '.join(parts)} of {resources}"


def _listed(names: frozenset[str]) -> str:
    return "everything" if "*" in names else ", ".join(sorted(names))


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
