"""Names of Images on a cluster, whose names of custom resources have no colons."""

from upwell.api.builds.build import Build
from upwell.api.image import Image
from upwell.api.schemas.custom_names import custom_name, own_name
from upwell.api.validation.formats import subdomain_problem

DIGEST = "sha256:" + "0af1" * 16


def test_an_image_has_a_name_there_that_a_cluster_takes_and_that_leads_back() -> None:
    name = custom_name(Image, DIGEST)

    assert name == DIGEST.replace(":", "-")
    assert not subdomain_problem(name)
    assert own_name(Image, name) == DIGEST


def test_all_other_names_stay() -> None:
    name = DIGEST.replace(":", "-")

    assert own_name(Build, name) == custom_name(Build, name) == name
    assert custom_name(Image, name) == custom_name(Image, own_name(Image, name)).replace(":", "-")
    assert own_name(Image, "sha256-short") == "sha256-short"
