"""The real pages on a real store, reached as a browser reaches them but without a socket; and a record to look at."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
from starlette.types import ASGIApp

from bot.web import app as web
from bot.web.limits import Buckets
from bot.web.pages.seal import Seal
from bot.web.pages.site import Limits, Parts, Site
from commands.facts import Facts
from commands.ports import ImageRef, ImageSnapshot, Person
from commands.shown import Shown, ShownApp
from storage import gate, ledger, ledger_keys
from storage.audit_index import catch_up
from storage.database import Database
from storage.keys import KeyFile
from storage.models import Approval, Change, ChangeState, Deployment, Kind, Lock, LockKind
from storage.phases import Phase, Stage
from storage.unit_of_work import AuditEntry, Store
from tests import desk_rig

PUBLIC = "https://locktender.example.com"
ORIGIN = "locktender/git.example/infra"
NOW = datetime(2026, 11, 23, 16, 0, tzinfo=UTC)
READER, STRANGER = "U0ALICE", "U0STRANGER"
RULES = """\
promotion: [dev, staging, production]
environments:
  dev: {}
  staging: {}
  production:
    change: pull-request
    approval: {from: [release-managers, platform-team], required: 1, expires_after: 4h}
apps:
  my-application: {image: registry.company.com/my-application}
  checkout-api: {image: registry.company.com/checkout-api}
  web: {image: registry.company.com/web}
  search-indexer: {image: registry.company.com/search-indexer, environments: [dev, staging]}
groups:
  release-managers: {slack: S0RELEASE}
  platform-team: {members: [U0PLATFORM1, U0PLATFORM2]}
channels: {deployments: C0DEPLOYMENTS}
"""
NAMES = {
    "U0ALICE": "Developer",
    "U0PLATFORM1": "Platform engineer",
    "U0RELEASE": "Release manager",
    "U0EVIL": '<img src=x onerror="alert(1)">',
}
DIFF = """\
--- a/production/deployment/my-application
+++ b/production/deployment/my-application
@@ -12,7 +12,7 @@
     spec:
       containers:
       - name: my-application
-        image: registry.company.com/my-application:1.4.1
+        image: registry.company.com/my-application:1.4.2
         ports:
         - containerPort: 8080
"""


class Clock:
    """Set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def generous() -> Limits:
    """Limits that no test meets unless it wants to."""
    return Limits(*(Buckets(1e9, 10**9) for _ in range(3)))


def knows(text: str = RULES, images: Mapping[str, str] | None = None, **more: object) -> Facts:
    """Facts in which git says `images`: `web/staging` -> tag."""
    found = desk_rig.facts(text, groups={"S0RELEASE": frozenset({"U0RELEASE"})})
    said = {(one.split("/")[0], one.split("/")[1]): ImageRef("r", tag) for one, tag in (images or {}).items()}
    return replace(found, snapshot=ImageSnapshot("c0ffee1" + "0" * 33, said), **more)  # type: ignore[arg-type]  # tests say any field


@dataclass
class PagesRig:
    """What a test holds. `facts` may be changed between requests."""

    store: Store
    clock: Clock
    site: Site
    seal: Seal
    app: ASGIApp
    client: httpx.AsyncClient
    facts: Facts = field(default_factory=knows)

    def link(self, user: str = READER, deployment_id: str = "", team: str = "T1") -> str:
        """A link as the bot hands it out, without the host."""
        asker = desk_rig.asker(user, team=team)
        return self.site.link(asker, deployment_id).removeprefix(PUBLIC)

    async def sign_in(self, user: str = READER) -> httpx.Response:
        """Press the button of a new link."""
        return await self.use(self.link(user))

    async def use(self, link: str, **headers: str) -> httpx.Response:
        """Press the button of this link."""
        token = parse_qs(urlsplit(link).query)["t"][0]
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        return await self.client.post("/open", data={"t": token}, headers=sent)

    async def page(self, path: str) -> str:
        """A page, which must be there."""
        answer = await self.client.get(path)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.text


def rig(url: str, folder: Path, *, public_url: str = PUBLIC, limits: Limits | None = None) -> PagesRig:
    """The whole web application with the pages in it; its record is signed."""
    clock = Clock()
    signer = ledger.Signer(KeyFile(folder / "audit.key", ORIGIN))
    store = Store(Database(url), clock, signer)
    ledger_keys.introduce(store)
    holder: list[PagesRig] = []
    seal = Seal(b"k" * 32, clock)
    parts = Parts(
        store,
        lambda: holder[0].facts,
        seal,
        lambda team, user: Person(team, user, NAMES.get(user, "")),
        lambda sha: f"https://github.example/company/infra/commit/{sha}",
        ORIGIN,
        public_url,
        limits or generous(),
    )
    site = Site(parts)
    app = web.create(None, "", list, pages=site.routes())
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=public_url)
    holder.append(PagesRig(store, clock, site, seal, app, client))
    return holder[0]


def fill(rig: PagesRig) -> Mapping[str, str]:
    """A company's afternoon; the ids of what there is to look at, by what it is."""
    ids = {}
    at = NOW - timedelta(days=24)
    images: dict[str, str] = {}
    for number in range(12):
        app = ("checkout-api", "web", "my-application")[number % 3]
        version = ("1.3.8", "1.3.9", "1.4.0", "1.4.1")[number // 3]
        failed = number == 7
        for hours, environment in enumerate(("dev", "staging")):
            phase = Phase.FAILED if failed and environment == "staging" else Phase.SUCCEEDED
            images[f"{app}/{environment}"] = version
            ids[f"{app}/{environment}"] = _ended(rig, app, environment, version, at + timedelta(hours=hours), phase)
        at += timedelta(days=1, hours=20)
    ids["reviewed"] = _reviewed(rig, "my-application", "1.4.1", NOW - timedelta(days=2), ChangeState.MERGED)
    ids["open"] = _reviewed(rig, "my-application", "1.4.2", NOW - timedelta(minutes=12), ChangeState.OPEN)
    ids["running"] = _running(rig)
    with rig.store.write() as uow:
        locks = [
            Lock(kind=LockKind.LOCK, app="web", environment="staging", reason="an incident", owner="U0PLATFORM1",
                 at=NOW - timedelta(minutes=40), expires_at=NOW + timedelta(hours=1)),
            Lock(kind=LockKind.HOLD, app="checkout-api", environment="production", reason="checkout is slow",
                 owner="U0ALICE", at=NOW - timedelta(hours=5)),
        ]  # fmt: skip
        uow.session.add_all(locks)
    settle(rig)
    rig.facts = knows(RULES, images | {"my-application/production": "1.4.1", "web/production": "1.4.0"})
    return ids


def hostile(rig: PagesRig) -> str:
    """Somebody tries their luck with every word that is theirs to choose; the id of their deployment."""
    made = _ended(
        rig, "web", "dev", '"><script>alert(1)</script>', NOW - timedelta(hours=3), Phase.FAILED,
        by="U0EVIL", reason="<b>bold</b> \u202egnp.exe & \ue000U0ALICE\ue001",
    )  # fmt: skip
    settle(rig)
    return made


def settle(rig: PagesRig) -> None:
    """It is now, and everything is indexed."""
    while catch_up(rig.store):
        pass
    rig.clock.now = NOW


def _ended(rig: PagesRig, app: str, environment: str, version: str, at: datetime, phase: Phase, **more: str) -> str:
    sha = hashlib.sha256(f"{app} {environment} {version} {at}".encode()).hexdigest()[:40]
    reason = more.get("reason", "weekly release")
    by = more.get("by", READER)
    rig.clock.now = at
    with rig.store.write() as uow:
        row = Deployment(
            app=app, environment=environment, version=version, previous="1.3.7", reason=reason, team_id="T1",
            requested_by=by, requested_at=at, started_at=at, committed_at=at + timedelta(seconds=4), commit_sha=sha,
            finished_at=at + timedelta(minutes=3), phase=phase, stage=Stage.DONE, job="infra-deploy", build_number=412,
            build_url="https://jenkins.example/job/infra-deploy/412/", build_state="SUCCESS",
            what="It runs and is healthy." if phase is Phase.SUCCEEDED else "The new pods crash: `CrashLoopBackOff`.",
            reason_code="live" if phase is Phase.SUCCEEDED else "crash_loop",
        )  # fmt: skip
        uow.session.add(row)
        place = (by, "T1", app, environment, row.id)
        uow.audit(AuditEntry("deployment:request", *place, "", {"version": version, "reason": reason}))
        uow.audit(AuditEntry("deployment:commit", "locktender", *place[1:], "", {"version": version, "commit": sha}))
        end = {"phase": str(phase), "version": version, "commit": sha, "what": row.what}
        uow.audit(AuditEntry("deployment:finish", "locktender", *place[1:], row.reason_code, end))
        return row.id


def _reviewed(rig: PagesRig, app: str, version: str, at: datetime, state: ChangeState) -> str:
    over = state is ChangeState.MERGED
    rig.clock.now = at
    with rig.store.write() as uow:
        row = Deployment(
            app=app, environment="production", version=version, previous="1.4.1", kind=Kind.PROMOTE, team_id="T1",
            reason="the cart total is right again", requested_by=READER, requested_at=at, promoted_from="staging",
            digest="sha256:" + "4a" * 32, phase=Phase.SUCCEEDED if over else Phase.AWAITING_APPROVAL,
            what="It runs and is healthy." if over else "", reason_code="live" if over else "",
            finished_at=at + timedelta(minutes=31) if over else None, commit_sha="e" * 40 if over else "",
            committed_at=at + timedelta(minutes=20) if over else None, started_at=at + timedelta(minutes=20),
        )  # fmt: skip
        row.change_id = row.id
        uow.session.add(row)
        shown = Shown((ShownApp(app, "1.4.1", version, "", "1 image"),), (), ("a.yaml",))
        change = Change(
            id=row.id, kind=Kind.PROMOTE, state=state, app=app, environment="production", team_id="T1",
            requested_by=READER, requested_at=at, expires_at=at + timedelta(hours=4), content="c4" * 32, pr_number=7,
            pr_url="https://github.example/company/infra/pull/7", diff=DIFF, shown=shown.as_json(), required=1,
            merge_sha="e" * 40 if over else "", merged_at=at + timedelta(minutes=20) if over else None,
            head_sha="d" * 40,
        )  # fmt: skip
        gate.add_change(uow, change)
        place = ("T1", app, "production", row.id)
        uow.audit(AuditEntry("promotion:request", READER, *place, "", {"version": version, "reason": row.reason}))
        uow.audit(AuditEntry("change:open", "locktender", *place, "", {"pull_request": change.pr_url}))
        said = [
            ("U0PLATFORM1", "rejected", "b0" * 32, "the migration comes first"),
            ("U0RELEASE", "approved", "c4" * 32, ""),
        ]
        for person, verdict, content, comment in said[: 2 if over else 1]:
            uow.session.add(
                Approval(
                    change_id=row.id,
                    content=content,
                    person=f"slack:{person}",
                    verdict=verdict,
                    team_id="T1",
                    slack_user=person,
                    comment=comment,
                    at=at + timedelta(minutes=11),
                )
            )
            verb = "change:approve" if verdict == "approved" else "change:reject"
            uow.audit(AuditEntry(verb, person, *place, "", {"content": content, "comment": comment}))
        if over:
            uow.audit(AuditEntry("change:merged", "locktender", *place, "", {"merge": "e" * 40}))
            done = {"phase": "succeeded", "version": version, "commit": "e" * 40}
            uow.audit(AuditEntry("deployment:finish", "locktender", *place, "live", done))
        return row.id


def _running(rig: PagesRig) -> str:
    at = NOW - timedelta(minutes=1)
    rig.clock.now = at
    with rig.store.write() as uow:
        row = Deployment(
            app="search-indexer", environment="staging", version="2.0.0-rc.1", team_id="T1", requested_by="U0PLATFORM1",
            requested_at=at, started_at=at, phase=Phase.RUNNING, stage=Stage.ROLLOUT,
        )  # fmt: skip
        uow.session.add(row)
        uow.audit(AuditEntry("deployment:request", "U0PLATFORM1", "T1", row.app, row.environment, row.id))
        return row.id
