"""`pytest infra/tests`; `--write` writes the files that are compared otherwise, for a person to review."""

import os

import pytest

from stack import Deployment

# SAM's translator asks boto3 for one; nothing is connected to.
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")


def pytest_addoption(parser):
    parser.addoption("--write", action="store_true", help="write what is compared with files (roles.txt, docs/cost.md)")


@pytest.fixture(scope="session")
def deployment():
    """As an operator gets it who says only what must be said."""
    return Deployment()


@pytest.fixture(scope="session")
def sleeping():
    """With a relay that sleeps."""
    return Deployment(RelaySleeps="true")


@pytest.fixture
def same_as(request):
    """Compares a text with a file, or writes it there."""

    def compare(path, text):
        if request.config.getoption("--write"):
            path.write_text(text)
        assert path.exists() and path.read_text() == text, f"{path.name} differs: review with `pytest infra/tests --write` and git diff"

    return compare
