"""Private folders for builds."""

import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import structlog

log = structlog.get_logger("render")


class Scratch:
    """Lends folders below the system's temporary one. A `kill -9` leaves them there, with manifests and nothing else.

    They are taken away in the background, one after another: nobody's answer waits for the hundreds of folders of a
    large export, which a disk with a journal needs a fifth of a second for. The interpreter waits for that at its end.
    """

    def __init__(self) -> None:
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="render-scratch")

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder that only we can read, its path without links; nothing may be in use in it when the block ends."""
        place = Path(tempfile.mkdtemp(prefix="locktender-render-")).resolve()
        try:
            yield place
        finally:
            self._sweeper.submit(_take_away, place)


def _take_away(place: Path) -> None:
    try:
        shutil.rmtree(place)
    except OSError as error:
        log.warning("render_folder_left", folder=str(place), error=str(error))
