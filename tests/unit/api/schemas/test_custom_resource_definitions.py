from upwell.api.schemas.crds import custom_resource_definitions

DEFINITIONS = {
    definition["spec"]["names"]["kind"]: definition for definition in custom_resource_definitions()
}


def test_kinds_that_every_cluster_has_are_not_defined() -> None:
    assert set(DEFINITIONS) == {
        "ImageStream",
        "Image",
        "BuildConfig",
        "Build",
        "DeploymentConfig",
        "Template",
        "Route",
        "Pipeline",
        "Cluster",
        "Freeze",
        "Quarantine",
        "Wave",
        "Release",
        "Promotion",
        "Subscription",
        "ClusterOperator",
        "ClusterImagePolicy",
        "ImagePolicy",
    }


def test_a_definition_has_the_kinds_names_scope_and_columns() -> None:
    definition = DEFINITIONS["ImageStream"]

    assert definition["metadata"]["name"] == "imagestreams.image.openshift.io"
    assert definition["spec"]["scope"] == "Namespaced"
    assert definition["spec"]["names"]["shortNames"] == ["is"]
    assert DEFINITIONS["Image"]["spec"]["scope"] == "Cluster"
    (version,) = definition["spec"]["versions"]
    assert version["additionalPrinterColumns"][0] == {
        "name": "IMAGE REPOSITORY",
        "type": "string",
        "jsonPath": ".status.dockerImageRepository",
        "priority": 0,
    }


def test_only_kinds_with_a_status_have_its_subresource() -> None:
    with_status = {
        kind
        for kind, definition in DEFINITIONS.items()
        if "subresources" in definition["spec"]["versions"][0]
    }

    assert set(DEFINITIONS) - with_status == {"Image", "Template", "Freeze", "Quarantine"}


def test_columns_have_types_and_the_age_stands_before_the_wide_ones() -> None:
    (version,) = DEFINITIONS["Subscription"]["spec"]["versions"]
    columns = [
        (column["name"], column["type"], column["priority"])
        for column in version["additionalPrinterColumns"]
    ]
    assert columns[-3:] == [("LAST", "date", 0), ("AGE", "date", 0), ("URL", "string", 1)]


def test_a_build_shows_when_it_ended_as_a_definition_subtracts_no_times() -> None:
    (version,) = DEFINITIONS["Build"]["spec"]["versions"]
    columns = {one["name"]: one["jsonPath"] for one in version["additionalPrinterColumns"]}
    assert columns["COMPLETED"] == ".status.completionTimestamp"
    assert "DURATION" not in columns


def test_columns_of_lists_of_texts_show_all_of_them() -> None:
    (version,) = DEFINITIONS["Freeze"]["spec"]["versions"]
    columns = {one["name"]: one["jsonPath"] for one in version["additionalPrinterColumns"]}
    assert columns["NAMESPACES"] == ".spec.namespaces"
    assert columns["PIPELINES"] == ".spec.pipelines"
