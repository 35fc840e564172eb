"""A coefficient that changes without a new version would make stored results lie about their provenance."""

import hashlib
from importlib.resources import files

import tradespace.costmodels as models

DIGESTS = {"0.6": "6511f36c0323ef0e4bfde682d2202e3f9c26981bd5d7ed48c2512134f41c5882"}


def test_the_version_changes_with_the_coefficients():
    folder = files("tradespace.costmodels").joinpath("data")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json"))
    digest = hashlib.sha256(b"".join(folder.joinpath(name).read_bytes() for name in names)).hexdigest()
    assert DIGESTS.get(models.VERSION) == digest, (
        "the shipped coefficients changed: raise costmodels.VERSION and note the digest here"
    )
