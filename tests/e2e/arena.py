"""Where the gate is attacked: people with several accounts, environments under review, and what must hold afterwards.

Every attack takes an environment of its own, so that one program serves a whole file. Who is who:

- `DEVELOPER` asks. They are a release manager too, and have a second Slack account (`TWIN`) and a login (`dev-hub`).
- `RELEASE_MANAGER` and `ON_CALL` are release managers; `PLATFORM` is in the catalogue's own list; `AUDITOR` is nobody.
- `release-hub`, `oncall-hub` and `stranger-hub` are in the reviewers' team; nobody knows whose `stranger-hub` is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.sandbox.github_model import Pull
from bot.sandbox.infra_example import Layout, create_files, example_files
from bot.sandbox.server import Fault, Misbehaviour
from bot.sandbox.slack_model import (
    DEPLOYMENTS,
    DEVELOPER,
    ON_CALL,
    RELEASE_MANAGER,
    CommandResult,
    Message,
    User,
    UserGroup,
)
from bot.sandbox.world import FAST, Sandbox
from commands.reasons import ReasonCode
from storage import gate
from storage.models import Approval, Change, ChangeState, Deployment
from storage.phases import Phase
from storage.record_models import AuditRow
from tests.e2e.rig import APP, CHANNEL, Rig

TWIN = User("U0DEVTWIN", "dev-private", "Developer, second account", "dev@private.example")
PLATFORM = User("U0PLATFORM1", "platform", "Platform engineer", "platform@company.example")
NEWCOMER = User("U0NEWCOMER", "new", "Newcomer", "new@company.example")
APPROVE, REJECT = "change:approve", "change:reject"

GATED = "{change: pull-request, reconciler: none, approval: {from: [release-managers, platform-team], %s}}"
"""An environment under review where git is the end, so that an attack costs no rollout."""
ROLLED_OUT = "{change: pull-request, approval: {from: [release-managers], %s}}"
ONE = GATED % "required: 1"
TWO = GATED % "required: 2"
BOTH = "{change: pull-request, reconciler: none, approval: {from: [hub-reviewers, release-managers], accept: both}}"
LIVE_ONE = ROLLED_OUT % "required: 1"

_PEOPLE = """\
people:
  developer: {slack: [U0DEVELOPER, U0DEVTWIN], github: dev-hub, emails: [developer@company.example]}
  release: {slack: U0RELEASE, github: release-hub, emails: [release@company.example]}
  on-call: {slack: U0ONCALL, github: oncall-hub, emails: [oncall@company.example]}
  platform: {slack: U0PLATFORM1, github: platform-hub, emails: [platform@company.example]}
"""
_GROUPS = """\
groups:
  release-managers: {slack: S0RELEASE}
  platform-team: {members: [U0PLATFORM1, U0PLATFORM2]}
  hub-reviewers: {github: company/reviewers}
  passing: {members: [U0RELEASE, U0ONCALL, U0DEVELOPER]}
  vanished: {slack: S0VANISHED}
"""
_LOGINS = {
    "dev-hub": DEVELOPER.email,
    "release-hub": RELEASE_MANAGER.email,
    "oncall-hub": ON_CALL.email,
    "platform-hub": PLATFORM.email,
    "stranger-hub": "who@knows.example",
}


class Arena(Rig):
    """A rig whose environments are reviewed."""

    # ------------------------------------------------------------ what people do

    def ask(self, environment: str, version: str = "1.4.2", *, user: User = DEVELOPER) -> Deployment:
        """Ask for a version; wait until its card can be decided on."""
        row = self.deploy(version, environment, user=user)
        self.until_shown(row)
        return row

    def click(self, user: User, message: Message, action: str = APPROVE, *, copies: int = 1) -> CommandResult:
        """Press a button as it is on this message; it must be acked in time."""
        result = self.slack.click(user, message, action, copies=copies)
        assert result.acked, result.trouble
        return result

    def approve(self, row: Deployment, user: User = RELEASE_MANAGER, *, message: Message | None = None) -> None:
        """Approve what the card shows; it must count."""
        self.click(user, message or self.card(row))
        assert self.audit("change:approve", row)[-1].actor == user.id

    def refuse_click(self, user: User, message: Message, reason: ReasonCode, *words: str) -> AuditRow:
        """Click Approve; it must be refused for this reason, recorded, and said to whoever clicked. Nothing counts."""
        before = len(self.audit("change:approve"))
        heard = len(self.slack.ephemerals(user))
        self.click(user, message)
        refused = self.audit("change:approve:refuse")[-1]
        assert (refused.reason_code, refused.actor) == (reason, user.id), refused
        self.until(lambda: len(self.slack.ephemerals(user)) > heard)
        self.told(self.slack.ephemerals(user)[-1].text, *words)
        assert len(self.audit("change:approve")) == before
        return refused

    def push(self, row: Deployment, files: Mapping[str, str | None], login: str) -> str:
        """Somebody pushes to the change's own branch."""
        return self.sandbox.github.push(self.change(row).branch, dict(files), login)

    def write_catalogue(self, edit: Callable[[str], str]) -> str:
        """Change locktender.yaml on the branch; answers the commit once it is in force, or refused."""
        made = self.sandbox.commit("locktender.yaml", edit(self.sandbox.read("locktender.yaml")), "Change the rules")
        self.until(lambda: [one for one in self.audit() if one.action.startswith("catalogue:") and made in one.details])
        return made

    # ------------------------------------------------------------ what is seen

    def change(self, row: Deployment) -> Change:
        """The change of a deployment, as it stands."""
        with self.store.read() as uow:
            found = gate.change_of(uow, self.row(row).change_id)
        assert found is not None
        return found

    def approvals(self, row: Deployment) -> list[Approval]:
        """What was said of the content that is shown now."""
        with self.store.read() as uow:
            return gate.approvals(uow, self.change(row))

    def pull(self, row: Deployment) -> Pull:
        """Its pull request on the code host."""
        number = self.change(row).pr_number
        assert number is not None
        return self.sandbox.github.pull(number)

    def status(self, row: Deployment) -> str:
        """The state of `locktender/approval` on the head."""
        found = self.sandbox.github.status(self.pull(row).head_sha, "locktender/approval")
        return found.state if found else ""

    def until_shown(self, row: Deployment) -> Message:
        """Wait until the card offers Approve for what the change is now."""

        def offered() -> bool:
            change = self.change(row)
            assert not Phase(self.row(row).phase).ended, self.row(row)
            cards = [one for one in self.cards() if (one.metadata or {})["event_payload"]["deployment_id"] == row.id]
            return bool(
                change.state == ChangeState.OPEN and change.token and cards and change.token in tokens(cards[0])
            )

        self.until(offered)
        return self.card(row)

    def until_void(self, row: Deployment, before: Message, *words: str) -> Message:
        """Wait until the approval of what was shown is void, the card says why, and other buttons are there."""
        old = tokens(before)
        self.until(lambda: self.change(row).token not in {"", *old})
        card = self.until_shown(row)
        self.until(lambda: all(word in self.card(row).text for word in words))
        card = self.card(row)
        assert not set(tokens(card)) & set(old)
        assert self.audit("change:void", row)
        assert not self.approvals(row)
        self.until(lambda: self.status(row) == "pending")
        return card

    def until_replied(self, row: Deployment, words: str) -> str:
        """Wait until somebody is told this below the card; the whole of it."""
        self.until(lambda: any(words in one for one in self.replies(self.card(row))))
        return next(one for one in self.replies(self.card(row)) if words in one)

    def until_state(self, row: Deployment, state: ChangeState) -> None:
        """Wait for the change to get there."""
        self.until(lambda: self.change(row).state == state)

    # ------------------------------------------------------------ what must hold

    def not_merged(self, row: Deployment) -> None:
        """Nothing of it is on the branch or in Jenkins, and nobody may think that it was approved."""
        assert not self.pull(row).merged
        assert not self.merges(row)
        assert not self.builds(row)
        assert not self.row(row).commit_sha

    def merged_once(self, row: Deployment, *people: str) -> Deployment:
        """Wait until it ended well: one pull request, one merge that names these approvers, one build where one is due,
        one card that says so without buttons."""
        done = self.live(row)
        change = self.change(row)
        assert change.state == ChangeState.MERGED
        assert self.merges(row) == [done.commit_sha]
        assert [one.head_branch for one in self.sandbox.github.pulls()].count(change.branch) == 1
        approved_by = self.sandbox.log("%H %(trailers:key=Approved-by,valueonly,separator=%x20)")
        assert [line.split()[1:] for line in approved_by if line.startswith(done.commit_sha)] == [list(people)]
        assert len(self.builds(row)) == (1 if done.job else 0)
        assert not tokens(self.card(row))
        assert len(self.audit("change:merged", row)) == 1
        assert len(self.audit("deployment:commit", row)) == 1
        return done

    def merges(self, row: Deployment) -> list[str]:
        """The merge commits of its change on the branch."""
        lines = self.sandbox.log("%H %(trailers:key=Change-Id,valueonly)")
        return [line.split()[0] for line in lines if line.split()[1:] == [row.change_id]]

    def give_up(self, row: Deployment) -> None:
        """Cancel what an attack left open, so that nobody looks at it any more."""
        self.type(f"cancel {row.id}")
        self.until(lambda: Phase(self.row(row).phase).ended)

    # ------------------------------------------------------------ trouble

    def trouble(self, method: str, path: str, kind: Misbehaviour, *, times: int = 1, **more: Any) -> Fault:
        """GitHub misbehaves the next times that it is asked this."""
        return self.sandbox.github.faults.add(Fault(method, path, kind, times=times, **more))


def tokens(message: Message) -> tuple[str, ...]:
    """What the buttons of a decision carry."""
    return tuple({one.value for one in message.buttons if one.action_id in {APPROVE, REJECT}})


def forged(message: Message, token: str) -> Message:
    """The same message with another value behind its buttons: what a made-up payload would hold."""

    def other(wire: Any) -> Any:
        if isinstance(wire, list | tuple):
            return type(wire)(other(one) for one in wire)
        if isinstance(wire, dict):
            inside = {key: other(value) for key, value in wire.items()}
            return inside | ({"value": token} if wire.get("type") == "button" else {})
        return wire

    return replace(message, blocks=other(message.blocks))


@contextmanager
def arena(
    home: Path,
    places: Mapping[str, str],
    *,
    rolled_out: Sequence[str] = (),
    edit: Callable[[Sandbox], None] = lambda _: None,
    more: Mapping[str, str] | None = None,
) -> Iterator[Arena]:
    """The sandbox, the program and the people. `rolled_out` are the places that run in the cluster from the start."""
    with people(home, places, rolled_out=rolled_out, edit=edit) as sandbox, sandbox.program(more=more) as program:
        made = Arena(sandbox, program)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def people(
    home: Path,
    places: Mapping[str, str],
    *,
    rolled_out: Sequence[str] = (),
    edit: Callable[[Sandbox], None] = lambda _: None,
) -> Iterator[Sandbox]:
    """The same without the program."""

    def create(bare: Path) -> None:
        create_files(bare, files(places))

    with Sandbox(home, speed=FAST, create=create, applied=()) as sandbox:
        members = (DEVELOPER.id, TWIN.id, RELEASE_MANAGER.id, ON_CALL.id)
        for user in (TWIN, PLATFORM, NEWCOMER):
            sandbox.slack.workspace.put_user(user)
        sandbox.slack.workspace.put_channel(
            replace(DEPLOYMENTS, members=DEPLOYMENTS.members | {TWIN.id, PLATFORM.id, NEWCOMER.id})
        )
        sandbox.slack.workspace.put_group(UserGroup("S0RELEASE", "release-managers", "Release managers", members))
        for login, email in _LOGINS.items():
            sandbox.github.user(login, email=email)
        sandbox.github.team("company/reviewers", ["release-hub", "oncall-hub", "dev-hub", "stranger-hub"])
        for name in rolled_out:
            sandbox.kubernetes.add_namespace(name)
            sandbox.apply("main", name, manager="setup")
        edit(sandbox)
        yield sandbox


def files(places: Mapping[str, str]) -> dict[str, str]:
    """The infra-repo: the classic layout with these environments, and `web`, another app, in production."""
    classic, per_app = example_files(), example_files(Layout.PER_APP)
    found = dict(classic) | {path: text for path, text in per_app.items() if path.startswith("apps/web/")}
    lines = "".join(f"  {name}: {settings}\n" for name, settings in places.items())
    before, _, _ = classic["locktender.yaml"].partition("groups:\n")
    only_here = ", ".join(["dev", "staging", "production", *places])
    app = f"  {APP}:\n    image: registry.company.com/{APP}\n"
    assert app in before
    before = before.replace(app, f"{app}    environments: [{only_here}]\n")
    web = "  web: {image: registry.company.com/web, environments: [dev, staging, production]}\n"
    text = before.replace("  dev: {}\n", f"  dev: {{}}\n{lines}")
    found["locktender.yaml"] = f"{text}{web}{_GROUPS}{_PEOPLE}channels: {{deployments: {CHANNEL}}}\n"
    for path, text in classic.items():
        if path.startswith("environments/dev/"):
            for name in places:
                copy = text.replace("namespace: dev", f"namespace: {name}").replace("replicas: 1", "replicas: 2")
                found[path.replace("/dev/", f"/{name}/")] = copy.replace("maxReplicas: 3", "maxReplicas: 4")
    return found
