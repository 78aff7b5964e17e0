"""A right that an object takes, as the rules of each subject say it."""

from dataclasses import dataclass

from upwell.policy.access.roles import Action


@dataclass(frozen=True, slots=True)
class Need:
    """A right that an object takes.

    What a role does not allow by its own resources is an action of verb `use`, as OpenShift's
    SecurityContextConstraints are used: `use hostpaths in namespace shop`.
    """

    action: Action
    why: str
    """Use that the object makes of it, to follow "it": `takes images from ImageStream a/b`."""
    stays: bool = True
    """True if it is asked only of who brings it in; False if of everyone who changes the spec,
    because the spec says what is done with the right."""
    subject: str = ""
    """Identity of the part that says what is done with it: who changes that part is asked again."""
