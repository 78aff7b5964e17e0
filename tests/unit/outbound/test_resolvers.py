"""Name servers that others than this machine can ask."""

from pathlib import Path

from upwell.outbound.resolvers import machine_resolvers


def test_the_first_file_that_names_one_for_others_counts(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("search test\nnameserver 127.0.0.53\nnameserver\nnameserver fd00::1\n")
    real.write_text("nameserver 169.254.169.253\nnameserver 192.0.2.53 # second\nnameserver x\n")
    assert machine_resolvers((stub, real)) == ("169.254.169.253", "192.0.2.53")
    assert machine_resolvers((real, stub)) == ("169.254.169.253", "192.0.2.53")
    assert machine_resolvers((stub, tmp_path / "absent")) == ()
