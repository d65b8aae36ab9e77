"""The virtual environment in which the peer lives, made on first use."""

import os
import subprocess
import venv
from pathlib import Path

from benchmarks.database import ROOT

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FOLDER = ROOT / ".venv-bench"


def peer_python() -> Path:
    """Return a Python that can import the peer.

    `PEER_PYTHON` names one; otherwise `.venv-bench` is made from requirements.txt, and
    made again when that file has changed.
    """
    if named := os.environ.get("PEER_PYTHON"):
        return Path(named)
    python = FOLDER / "bin" / "python"
    stamp = FOLDER / "requirements.txt"
    wanted = REQUIREMENTS.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(FOLDER, clear=True, with_pip=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-qq", "-r", REQUIREMENTS], check=True
        )
        stamp.write_text(wanted)
    return python
