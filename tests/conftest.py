"""Settings of every test: nothing of the machine, the shell or the terminal that starts them decides one.

Properties have no deadline, so that a busy machine fails nothing; under CI they draw the same each time.
`--shuffle SEED` runs modules, classes and tests in an order of chance, and prints the seed again.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile

import pytest
from hypothesis import settings

settings.register_profile("tradespace", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tradespace")

# A shell in the background ignores Ctrl-C for all that it starts; a test that presses it means the default.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PYTHONWARNINGS"):
    os.environ.pop(name, None)
# Devices that were calibrated on this machine are no part of a test.
_HOME = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
os.environ["TRADESPACE_HOME"] = _HOME.name


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--shuffle SEED`."""
    parser.addoption("--shuffle", metavar="SEED", type=int, help="run tests in an order of chance")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The seed, so that an order can be repeated."""
    if (seed := config.getoption("shuffle")) is not None:
        terminalreporter.write_line(f"in an order of chance; repeat it with --shuffle={seed}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Modules in an order of chance, and in each its classes and tests, so that fixtures are made once."""
    seed = config.getoption("shuffle")
    if seed is None:
        return
    draw = random.Random(seed)
    place: dict[pytest.Item | pytest.Collector, float] = {}
    for item in items:
        for node in item.listchain():
            place.setdefault(node, draw.random())
    items.sort(key=lambda item: [place[node] for node in item.listchain()])
