"""The one error of the QGIS half: a job that did not come to a result."""

from __future__ import annotations


class JobFailed(Exception):  # noqa: N818  (an outcome, reported under the worker's own code)
    """A job failed, in the worker or before it was started.

    Args:
        code: The stable name of the error (docs/job.schema.json).
        message: What went wrong, with the file or value it went wrong with.
        remedy: What to do about it, as a full sentence.
        detail: What only a developer wants to see: a traceback, the last lines of the worker.
    """

    def __init__(self, code: str, message: str, remedy: str = "", detail: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.code = code
        self.message = message
        self.remedy = remedy
        self.detail = detail


class JobCancelled(JobFailed):
    """The user cancelled the job."""

    def __init__(self) -> None:
        super().__init__("Cancelled", "The job was cancelled.", "Outputs are as they were before.")
