"""The record as one program sees it: opened with its key, and verified against all that is outside of the database."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bot.integrations.git import checkpoints
from bot.integrations.git.checkpoints import Checkpoints
from bot.settings import RecordPlaces, Settings
from storage import ledger, verify_export
from storage import verify as verifier
from storage.database import Database, normalise, sqlite_url
from storage.keys import KeyFile, KeyFileError, load, origin_of
from storage.signing import NotSignedTextError, PublicKey, SignedHead
from storage.unit_of_work import Store, UnitOfWork
from storage.verdict import Anchor, Finding, State, Trust, Verdict, forged
from storage.verify_rows import Book

Counted = Callable[[int, int], None]


class UsageError(Exception):
    """What was asked for makes no sense. The message is a sentence for people."""


@dataclass(frozen=True)
class Sources:
    """What there is to verify, and to verify it with."""

    database: Book | None
    export: Path | None
    repository: Path | None
    branch: str
    trust: Trust


def signer(settings: Settings, address: str) -> ledger.Signer:
    """What the bot signs the record with; made at the first start. `address` is the infra-repo's. KeyFileError."""
    return ledger.Signer(KeyFile(settings.audit_key, origin_of(address)))


def verify(sources: Sources, progress: Counted) -> Verdict:
    """Judge all of it together. Raises as `storage.verify` and `storage.verify_export` do, and Refused for a repo."""
    anchors, findings = _anchors(sources)
    verdict = None
    if sources.database is not None:
        verdict = verifier.verify(sources.database, sources.trust, anchors, progress=progress)
    if sources.export is not None:
        told = verify_export.verify_export(
            sources.export, sources.trust, sources.database, anchors=anchors, progress=progress
        )
        verdict = told if verdict is None else _both(verdict, told)
    if verdict is None:
        raise UsageError("There is nothing to verify.")
    if not findings:
        return verdict
    return replace(verdict, state=State.TAMPERED, findings=(*verdict.findings, *findings))


def quick(store: Store, trust: Trust, kept: Checkpoints, seconds: float) -> Verdict:
    """For an answer in Slack: the database against what the mirror has, in bounded time.

    In processes of its own when there are many rows, so that acks do not wait for it.
    """
    anchors, findings = anchors_of(kept, trust)
    url = store.database.engine.url.render_as_string(hide_password=False)
    verdict = verifier.verify(Book(url), trust, anchors, seconds=seconds)
    return replace(verdict, state=State.TAMPERED, findings=(*verdict.findings, *findings)) if findings else verdict


def anchors_of(kept: Checkpoints, trust: Trust) -> tuple[tuple[Anchor, ...], tuple[Finding, ...]]:
    """The checkpoints that git keeps, and what is wrong with those that cannot be read."""
    found, wrong = [], []
    origin = trust.keys[0].name if trust.keys else ""
    for one in kept.trailers:
        where = f"the trailer of commit {one.commit[:12]}"
        try:
            found.append(Anchor(where, SignedHead.parse_trailer(one.text, origin)))
        except NotSignedTextError:
            wrong.append(forged(where, "it cannot be read"))
    for one in kept.notes:
        where = f"commit {one.commit[:12]} of {checkpoints.REF}"
        try:
            found.append(Anchor(where, SignedHead.parse_note(one.text)))
        except NotSignedTextError:
            wrong.append(forged(where, "it cannot be read"))
    return tuple(found), tuple(wrong)


def trust_of(signing: ledger.Signer) -> Trust:
    """What the running bot goes by: its own key."""
    keys = [one.public for one in (signing.keys.key, signing.keys.before) if one is not None]
    return Trust(tuple(keys), signing.keys.since)


# ------------------------------------------------------------ places


def book(places: RecordPlaces, named: str, *, needed: bool) -> Book | None:
    """The database that is named, else the environment's; None when there is none and it is not needed."""
    if named and "://" not in named:
        if not Path(named).is_file():
            raise UsageError(f"There is no file at {named}.")
        return Book.at(Path(named))
    url = normalise(named or places.database)
    if not named and not places.is_named:
        file = places.home / "locktender.db"
        if not file.is_file():
            if needed:
                raise UsageError(
                    f"There is no record at {file}. Name one with --database, DATABASE_URL or LOCKTENDER_HOME."
                )
            return None
    return Book(url)


def repository(places: RecordPlaces, named: Path | None) -> Path | None:
    """The repository that is named, else the bot's mirror; None when there is none."""
    if named is not None:
        return named
    found = sorted((places.home / "git").glob("*.git"))
    return found[0] if len(found) == 1 else None


def trust(places: RecordPlaces, named: Sequence[str]) -> Trust:
    """The keys that are named, else the bot's own. None at all is no fault here: it will be told in the verdict."""
    if not named:
        try:
            keys = load(places.audit_key)
        except KeyFileError:
            if places.audit_key.exists():
                raise
            return Trust()
        return Trust(tuple(one.public for one in (keys.key, keys.before) if one is not None), keys.since)
    found: list[PublicKey] = []
    for text in named:
        path = Path(text)
        lines = path.read_text("utf-8").splitlines() if "+" not in text and path.is_file() else [text]
        for line in lines:
            word = line.strip()
            if word.startswith("key "):  # the bot's own file
                return trust(replace(places, audit_key=path), ())
            if word and not word.startswith("#"):
                found.append(PublicKey.parse(word))
    return Trust(tuple(found))


@contextmanager
def opened(places: RecordPlaces, named: str) -> Iterator[Store]:
    """The record's store, without a signer."""
    found = book(places, named, needed=True)
    url = places.database if found is None else found.url
    database = Database(sqlite_url(Path(named)) if named and "://" not in named else url)
    try:
        yield Store(database)
    finally:
        database.close()


def origin(places: RecordPlaces, uow: UnitOfWork) -> str:
    """The log's name: the key file's, else the one that the record gives itself."""
    try:
        return load(places.audit_key).key.public.name
    except KeyFileError:
        changes = ledger.key_changes(uow.run)
        return changes[-1][1].key.name if changes else "locktender"


def _anchors(sources: Sources) -> tuple[tuple[Anchor, ...], tuple[Finding, ...]]:
    if sources.repository is None:
        return (), ()
    with checkpoints.opened(sources.repository) as commands:
        return anchors_of(checkpoints.read(commands, sources.branch), sources.trust)


def _both(database: Verdict, export: Verdict) -> Verdict:
    """One verdict of two: the worse state, and everything that was found."""
    order = (State.TAMPERED, State.UNKNOWN, State.PROVEN)
    state = min(database.state, export.state, key=order.index)
    notes = (*database.notes, *(f"Export: {one}" for one in export.notes))
    if state is State.PROVEN:
        notes = (*notes, f"The export has {export.rows:,} of the rows, as the database has them.")
    return replace(
        database,
        state=state,
        findings=(*database.findings, *(replace(one, what=f"Export: {one.what}") for one in export.findings)),
        notes=notes,
    )
