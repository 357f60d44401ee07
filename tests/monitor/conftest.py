import pytest
import soundfile
from located_faults import RATE, Machine

from dcase_asd.monitor.monitor import Monitor

SECONDS = 3.0


@pytest.fixture(scope="session")
def normal_folder(tmp_path_factory):
    """Thirty normal recordings of one machine, with names of no grammar, in two folders."""
    folder = tmp_path_factory.mktemp("normal")
    (folder / "mon day").mkdir()
    machine = Machine(3, SECONDS, "noisy")
    for number in range(30):
        place = folder / ("mon day" if number % 2 else ".") / f"rec {number:02d} ä.wav"
        soundfile.write(place, machine.normal(), RATE)
    return folder


@pytest.fixture(scope="session")
def monitor(normal_folder):
    """A monitor of that machine."""
    return Monitor.fit(normal_folder, false_alarms=0.05)


@pytest.fixture
def machine():
    """The same machine, which makes other recordings."""
    made = Machine(3, SECONDS, "noisy")
    for _ in range(30):
        made.normal()
    return made
