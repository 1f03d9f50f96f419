"""Does what `/audit export`, `evidence` and `verify` ordered, which takes longer than an answer may: one at a time."""

import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import requests
import structlog
from slack_sdk.errors import SlackApiError
from sqlalchemy.exc import SQLAlchemyError

from bot import evidence_files
from bot.audit_files import Written, write
from bot.slack.text import escape
from commands.audit_export import VERIFY, filters_of
from commands.audit_filter import spoken
from commands.audit_report import CHART, reported
from commands.evidence import EVIDENCE, Wanted, take
from commands.reasons import Fault, ReasonCode
from commands.requests import ExportForm, Report, typed
from storage import exports
from storage.exports import MOST_ATTEMPTS, ExportJob
from storage.models import Target
from storage.proofs import NoProofError
from storage.unit_of_work import AuditEntry, Note, Store
from storage.verdict import State, Verdict

AGAIN = timedelta(seconds=20)
Give = Callable[[str, Path, str, str], None]
Judge = Callable[[], Verdict]
_SIGNS = {State.PROVEN: "✅", State.TAMPERED: "🚨", State.UNKNOWN: "❔"}
log = structlog.get_logger("exports")


class Orders:
    """Files live in `home`/exports, readable by nobody else, until they are handed over; each at least once.

    `judge` verifies the record in bounded time; it raises what a database's driver raises.
    """

    def __init__(self, store: Store, home: Path, give: Give, judge: Judge) -> None:
        self._store = store
        self._folder = home / "exports"
        self._give = give
        self._judge = judge

    def once(self) -> bool:
        """Make and hand over the next file, or judge the record; False when nothing waits. Blocks that long.

        What cannot be handed over is tried again, five times in all; then it is given up, and the record says so.
        """
        job = exports.lease(self._store)
        if job is None:
            return False
        try:
            if job.form == VERIFY:
                self._verify(job)
            elif job.form == CHART:
                self._draw(job)
            elif job.form == EVIDENCE:
                self._take(job)
            else:
                self._hand_over(job)
        except (
            SlackApiError,
            requests.RequestException,
            OSError,
            SQLAlchemyError,
            sqlite3.Error,
            psycopg.Error,
        ) as error:
            self._failed(job, error, AGAIN * 2**job.attempts)
        except (Fault, NoProofError) as error:
            self._failed(job, error, None)
        else:
            exports.handed_over(self._store, job.id)
        return True

    def _hand_over(self, job: ExportJob) -> None:
        form, filters = ExportForm(job.form), filters_of(job.wanted)
        with self._place() as folder:
            path = folder / f"record.{form}"
            with path.open("w", encoding="utf-8", newline="") as file:
                written = write(self._store, form, filters, job.requested_at, file)
            said = spoken(filters)
            title = f"deployment-record-{job.requested_at:%Y%m%d-%H%M%S}.{form}"
            self._give(job.user_id, path, title, escape(_words(written, said, form)))
        log.info("exports.handed_over", export=job.id, rows=written.rows, user=job.user_id)

    def _take(self, job: ExportJob) -> None:
        """Evidence of one change: the file that proves, then the page."""
        wanted = Wanted.from_json(job.wanted)
        taken = take(self._store, wanted.name, job.user_id, job.team_id, wanted.source)
        with self._place() as folder:
            files = evidence_files.write(taken, folder)
            how = "`locktender audit verify --evidence FILE` proves it."
            said = f"The evidence of `{taken.name}`: {taken.told.what}. {how}"
            self._give(job.user_id, files.statement, files.statement.name, escape(said))
            self._give(job.user_id, files.page, files.page.name, "The same as a page to read.")
        log.info("exports.evidence_handed_over", export=job.id, of=taken.name, user=job.user_id)

    def _draw(self, job: ExportJob) -> None:
        """A picture of a report."""
        from bot.audit_chart import draw  # Pillow is loaded by who draws, and by nobody else

        wanted = Report(**json.loads(job.wanted))
        with self._store.read() as uow:
            found = reported(uow, wanted)
        of = " in ".join(name for name in (wanted.app, wanted.environment) if name)
        with self._place() as folder:
            path = folder / "report.png"
            path.write_bytes(draw(found, of))
            said = f"Deployments{f' of {typed(of)}' if of else ''}: the numbers are in the answer to `/audit report`."
            self._give(job.user_id, path, f"deployments-{job.requested_at:%Y%m%d-%H%M%S}.png", escape(said))

    @contextmanager
    def _place(self) -> Iterator[Path]:
        """A folder of its own for one order, gone when that is done."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            yield Path(folder)

    def _verify(self, job: ExportJob) -> None:
        """Tell the verdict to whoever asked, once, with the row that records it."""
        verdict = self._judge()
        first = verdict.findings[0] if verdict.findings else None
        with self._store.write() as uow:
            details = {"state": str(verdict.state), "rows": verdict.rows, "what": verdict.summary, "for": job.user_id}
            uow.audit(AuditEntry("audit:verified", team_id=job.team_id, details=details))
            sign = _SIGNS[verdict.state]
            parts = [
                f"{sign} {verdict.summary}",
                _anchored(verdict),
                first.next_step if first else "",
                *verdict.notes[:2],
            ]
            body = {"text": " ".join(part for part in dict.fromkeys(parts) if part)}
            uow.send(Note(f"verified:{job.id}", Target.CHANNEL, body, channel=job.user_id))

    def _failed(self, job: ExportJob, error: Exception, again: timedelta | None) -> None:
        again = again if job.attempts + 1 < MOST_ATTEMPTS else None
        name = type(error).__name__
        log.warning("exports.failed", export=job.id, error=name, given_up=again is None)
        exports.failed(self._store, job.id, name, again)
        if again is None:
            with self._store.write() as uow:
                entry = AuditEntry(
                    "audit:export-fail",
                    team_id=job.team_id,
                    reason_code=ReasonCode.INTERNAL,
                    details={"for": job.user_id, "form": job.form, "error": name},
                )
                uow.audit(entry)
                body = {"text": _given_up(job, error)}
                uow.send(Note(f"not-handed-over:{job.id}", Target.CHANNEL, body, channel=job.user_id))


def _given_up(job: ExportJob, error: Exception) -> str:
    asked = "evidence" if job.form == EVIDENCE else f"the record as {job.form}"
    if job.form in {VERIFY, CHART}:
        asked = {VERIFY: "the record to be verified", CHART: "a picture of the report"}[job.form]
    if isinstance(error, Fault):
        return f"❌ You asked for {asked}, and it cannot be had: {escape(error.what)} {escape(error.next_step)}"
    said = error.response.get("error", "") if isinstance(error, SlackApiError) else ""
    why = f"Slack says `{escape(str(said))}`" if said else f"{type(error).__name__}, see the log line `exports.failed`"
    return (
        f"❌ You asked for {asked}; that failed {MOST_ATTEMPTS} times and was given up ({why}). Ask again, or have it "
        "made with `locktender audit` where Locktender runs."
    )


def _anchored(verdict: Verdict) -> str:
    if not verdict.anchors:
        return ""
    return f"{verdict.anchors} checkpoints in git agree, the last with rows 1 to {verdict.anchored:,}."


def _words(written: Written, said: str, form: ExportForm) -> str:
    which = f"where {typed(said)}" if said else "all of it"
    proof = " `locktender audit verify --export FILE` proves it." if form is ExportForm.JSONL else ""
    return f"The record, {which}: {written.rows:,} rows, of {written.size:,} when it was written.{proof}"
