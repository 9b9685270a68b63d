"""What a dialog tells of the scenes before it runs: how many, of which days, MGRS tiles and offset.

The worker looks (its command `scanscenes`), in a thread that knows nothing of widgets: QGIS deletes those when it
likes. So nothing calls the line; it asks, with a timer that dies with it.
"""

from __future__ import annotations

import threading
from html import escape

from qgis.core import QgsProcessingFeedback
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtWidgets import QLabel, QSizePolicy

from .errors import JobFailed
from .parameters import tr
from .runtime import finder
from .worker_client import run_job

PAUSE_MS = 600
WATCH_MS = 100
_BREAK = "\u200b"


class Scan:
    """One run of `scanscenes` in a thread of its own.

    Args:
        parameters: The job's.

    Attributes:
        found: The result, None unless there is one.
        problem: Why there is none, for the user.
    """

    def __init__(self, parameters: dict) -> None:
        self.found: dict | None = None
        self.problem = ""
        self._parameters = parameters
        self._feedback = QgsProcessingFeedback(False)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def cancel(self) -> None:
        """Have the worker end soon; nobody waits for it."""
        self._feedback.cancel()

    def _run(self) -> None:
        try:
            self.found = run_job(finder.find_python(), "scanscenes", self._parameters, self._feedback)
        except JobFailed as error:
            self.problem = str(error)


class ScenesPreview(QLabel):
    """Lines that show what is found; nothing is looked for while nobody can see them."""

    def __init__(self) -> None:
        super().__init__(wordWrap=True, textFormat=Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._asked: dict | None = None
        self._is_waiting = False
        self._scan: Scan | None = None
        self._pause = QTimer(self, singleShot=True, interval=PAUSE_MS)
        self._pause.timeout.connect(self._begin)
        self._watch = QTimer(self, interval=WATCH_MS)
        self._watch.timeout.connect(self._look)
        self.destroyed.connect(lambda: self._forget_scan())

    def ask(self, parameters: dict) -> None:
        """Show what a job with these parameters finds, once they have stood for a moment."""
        if parameters == self._asked:
            return
        self.tell(tr("Scanning…"))
        self._asked, self._is_waiting = parameters, True
        if self.isVisible():
            self._pause.start()

    def tell(self, text: str) -> None:
        """Show a text, and look for nothing."""
        self._stop()
        self._asked, self._is_waiting = None, False
        self._show(text)

    def resizeEvent(self, event) -> None:  # noqa: N802
        super().resizeEvent(event)
        self._make_room()

    def showEvent(self, event) -> None:  # noqa: N802
        super().showEvent(event)
        if self._is_waiting:
            self._pause.start()

    def hideEvent(self, event) -> None:  # noqa: N802
        self._stop()
        super().hideEvent(event)

    def _begin(self) -> None:
        self._scan = Scan(self._asked)
        self._watch.start()

    def _look(self) -> None:
        if not self._scan.is_over:
            return
        scan, self._is_waiting = self._scan, False
        self._stop()
        if scan.found is None:
            self._show(scan.problem)
        else:
            self._show(summary(scan.found), details(scan.found))

    def _stop(self) -> None:
        self._pause.stop()
        self._watch.stop()
        self._forget_scan()

    def _forget_scan(self) -> None:
        if self._scan is not None:
            self._scan.cancel()
            self._scan = None

    def _show(self, text: str, tip: str = "") -> None:
        self.setText(text.replace("/", f"/{_BREAK}"))  # so that long paths do not widen the dialog
        self.setToolTip(tip)
        self._make_room()

    def _make_room(self) -> None:
        """Take the height that the text has at this width: a scroll area gives its contents no more than they need."""
        self.setMinimumHeight(0)  # it counts in the next line
        self.setMinimumHeight(max(0, self.heightForWidth(self.width())))


def summary(found: dict) -> str:
    """What was found, in a few short sentences.

    Args:
        found: The result of `scanscenes`.
    """
    days, tiles = found["dates"], found["mgrs_tiles"]
    scenes = tr("1 scene") if found["scenes"] == 1 else tr("{} scenes").format(found["scenes"])
    span = days[0] if len(days) == 1 else tr("{} days from {} to {}").format(len(days), days[0], days[-1])
    where = tr("MGRS tile {}") if len(tiles) == 1 else tr("MGRS tiles {}")
    parts = [scenes, span, where.format(", ".join(tiles)) if tiles else ""]
    lines = [" · ".join(part for part in parts if part)]
    if found["offsets"]:  # else a warning says why it is not known
        lines.append(found["offset_evidence"])
    lines += [tr("Warning: {}").format(warning) for warning in found["warnings"]]
    if found["skipped"]:
        lines.append(
            tr("1 file skipped.") if found["skipped"] == 1 else tr("{} files skipped.").format(found["skipped"])
        )
    return "\n".join(lines)


def details(found: dict) -> str:
    """What is worth knowing beyond the summary, as rich text: common bands, reasons why files were skipped."""
    lines = [tr("Bands of all scenes: {}").format(", ".join(found["bands"]))]
    lines += [tr("Skipped: {}").format(example) for example in found["skipped_examples"]]
    if found["skipped"] > len(found["skipped_examples"]) > 0:
        lines.append(tr("and {} more").format(found["skipped"] - len(found["skipped_examples"])))
    return "<br>".join(escape(line) for line in lines)
