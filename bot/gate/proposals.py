"""A change as it stands in git and on the code host: made, looked at again, and compared with what was shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bot.content import Content, Wanted, current_image, find_overlay
from bot.gate import texts
from bot.gate.effects import Effect, Effects
from bot.integrations.git.message import DEPLOYMENT_TRAILER
from bot.integrations.overlaid import Overlaid
from bot.writing import Writing, trailers
from commands.binding import Binding, Part
from commands.catalogue import App, Catalogue, Environment
from commands.code_host import CodeHost, Comparison, PullCommit, PullRequest, PullRequestDraft
from commands.ports import CommitRequest, ImageRef, InfraRepo, Tree
from commands.reasons import Fault, ReasonCode, Refused, Retry
from storage.models import Change, Deployment


@dataclass(frozen=True)
class Seen:
    """A change at one look. `parts` are what becomes of each app, `effect` what that does to rendered manifests."""

    pull: PullRequest
    base: str  # the head of the infra-repo's branch
    own: str  # the commit that we put on the change's branch
    binding: Binding
    effect: Effect
    contents: Mapping[str, Content] = field(default_factory=dict)
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)
    """What lies between the versions of each app whose source is known."""


class Proposals:
    """Makes and reads proposals. Blocks; thread-safe as far as its parts are. Every writing call may be made twice."""

    def __init__(self, infra: InfraRepo, writing: Writing, host: CodeHost, effects: Effects) -> None:
        self._infra = infra
        self._writing = writing
        self._host = host
        self._effects = effects

    def make(self, change: Change, rows: Sequence[Deployment], known: Catalogue) -> Seen:
        """Put the change on its branch and open its pull request; what is there already is found.

        Refused: NO_CHANGE when git says so already, and whatever stops a deployment's check.
        """
        base = self._infra.refresh()
        tree = self._infra.tree(base)
        wanted = {row.app: self._wanted(row, known) for row in rows}
        contents, changes = self._combined(tree, known, rows, wanted)
        after = Overlaid(tree, changes)
        for row in rows:
            one = wanted[row.app]
            self._writing.images(after, contents[row.app], known.workload(one.app, one.environment))
        first = rows[0]
        author = self._writing.author(first)
        request = CommitRequest(change.id, texts.title(change, rows), author, _kept(change, rows), first.reason)
        own = self._infra.ensure_branch(request, change.branch, base, lambda _: changes)
        effect = self._effects.of(tree, self._infra.tree(own), known, rows)
        compared = self._compared(rows, known, contents)
        body = texts.body(change, rows, contents, effect, compared)
        draft = PullRequestDraft(change.id, change.branch, texts.title(change, rows), body)
        pull = self._host.ensure_pull_request(draft)
        return self._seen(change, rows, known, pull, base, own, effect, contents)

    def look(self, change: Change, rows: Sequence[Deployment], known: Catalogue, pull: PullRequest) -> Seen:
        """What the change is now: its branch's head on the newest head of the infra-repo."""
        base = self._infra.refresh()
        self._infra.fetch_branch(change.branch)
        tree = self._infra.tree(base)
        after = self._merged(tree, pull.head_sha)
        effect = self._effects.of(tree, after, known, rows)
        contents = {row.app: self._said(tree, after, row, known) for row in rows}
        return self._seen(change, rows, known, pull, base, change.own_sha, effect, contents)

    def merged_files(self, merge: str) -> Mapping[str, str]:
        """What a merge did to the branch: path -> what it became. The merge must have been fetched."""
        (logged,) = self._infra.log(merge, None, (), 1)
        if not logged.parents:
            return {}
        return {path: after for path, (_, after) in self._infra.changes(logged.parents[0], merge).items()}

    def built_otherwise(self, merge: str, parts: Sequence[Part]) -> tuple[str, ...]:
        """The apps of a merge that were built from something else than was shown: it moved just before the merge."""
        (logged,) = self._infra.log(merge, None, (), 1)
        before = self._infra.tree(logged.parents[0] if logged.parents else merge)
        return tuple(part.app for part in parts if self._effects.fingerprint(before, part.overlay) != part.base)

    # ------------------------------------------------------------ parts

    def _commits(self, pull: PullRequest) -> tuple[PullCommit, ...]:
        """The commits of exactly this head. Retry when it is pushed or merged meanwhile, or the list is not up to date.

        Who wrote them decides who may approve: a list of another moment would let an author through, or show what was
        never there.
        """
        listed = self._host.commits(pull.number)
        now = self._host.pull_request(pull.number)
        same = (now.state, now.head_sha) == (pull.state, pull.head_sha)
        if not same or pull.head_sha not in {one.sha for one in listed}:
            raise Retry(
                ReasonCode.HEAD_MOVED,
                "The pull request is moving just now.",
                "Wait until it is looked at again.",
                after=1.0,
            )
        return listed

    def _compared(
        self, rows: Sequence[Deployment], known: Catalogue, contents: Mapping[str, Content]
    ) -> dict[str, Comparison]:
        """The commits between two versions, where the source is known: that they cannot be told stops nothing."""
        found: dict[str, Comparison] = {}
        for row in rows:
            source, content = known.apps[row.app].source, contents[row.app]
            if not source or not content.before.tag or not content.image.tag:
                continue
            try:
                comparison = self._host.compare(source, content.before.tag, content.image.tag)
            except Fault:
                continue
            if comparison is not None:
                found[row.app] = comparison
        return found

    def _wanted(self, row: Deployment, known: Catalogue) -> Wanted:
        return self._writing.wanted(row, known, *_names(row, known))

    def _said(self, before: Tree, after: Tree, row: Deployment, known: Catalogue) -> Content:
        """What the two trees say of an app; nothing is changed."""
        app, environment = _names(row, known)
        overlay = find_overlay(after, known, app, environment)
        old = current_image(before, overlay, app) if before.entry(overlay) is not None else ImageRef("")
        return Content(overlay, old, current_image(after, overlay, app), {})

    def _combined(
        self, tree: Tree, known: Catalogue, rows: Sequence[Deployment], wanted: Mapping[str, Wanted]
    ) -> tuple[dict[str, Content], dict[str, bytes | None]]:
        """One app after the other on the same tree: two may share an overlay."""
        changes: dict[str, bytes | None] = {}
        contents: dict[str, Content] = {}
        for row in rows:
            content = self._writing.content(Overlaid(tree, changes), known, wanted[row.app])
            contents[row.app] = content
            changes |= content.changes
        return contents, changes

    def _merged(self, tree: Tree, head: str) -> Tree:
        """The tree as it would be after the merge: the branch's own changes on top of it."""
        start = self._infra.merge_base(tree.commit, head) or tree.commit
        source = self._infra.tree(head)
        files = self._infra.changes(start, head)
        there = source.read_many([path for path, (_, after) in files.items() if after])
        return Overlaid(tree, {path: there.get(path) for path in files})

    def _seen(
        self,
        change: Change,
        rows: Sequence[Deployment],
        known: Catalogue,
        pull: PullRequest,
        base: str,
        own: str,
        effect: Effect,
        contents: Mapping[str, Content],
    ) -> Seen:
        tree = self._infra.tree(base)
        start = self._infra.merge_base(base, pull.head_sha) or base
        files = {path: after for path, (_, after) in self._infra.changes(start, pull.head_sha).items()}
        strangers = tuple(one for one in self._commits(pull) if one.sha != own)
        parts = tuple(
            Part(
                app=row.app,
                version=contents[row.app].image.tag,
                digest=contents[row.app].image.digest,
                overlay=contents[row.app].overlay,
                base=self._effects.fingerprint(tree, contents[row.app].overlay),
                manifests=effect.manifests(row.app),
            )
            for row in rows
        )
        policy = known.policy_version(change.environment)
        binding = Binding(pull.head_sha, policy, parts, files, strangers)
        return Seen(pull, base, own, binding, effect, contents, self._compared(rows, known, contents))


def _kept(change: Change, rows: Sequence[Deployment]) -> tuple[tuple[str, str], ...]:
    """What the branch's commit keeps: one id, the change's. Those of a set's deployments stand in its merge."""
    told = tuple(pair for pair in trailers(rows) if pair[0] != DEPLOYMENT_TRAILER)
    return ((DEPLOYMENT_TRAILER, change.id), *told)


def still_asked_for(rows: Sequence[Deployment], seen: Seen) -> None:
    """Raise Refused when the branch no longer holds what was asked: somebody has pushed another version to it."""
    for row in rows:
        image = seen.contents[row.app].image
        same_version = row.version in {image.tag, image.digest}
        if not same_version or (row.digest and row.digest != image.digest):
            raise Refused(
                ReasonCode.HEAD_MOVED,
                f"The pull request's branch now says `{image.tag or image.digest[:19]}` for `{row.app}`, and "
                f"`{row.version}` was asked for: somebody pushed to it.",
                "Ask again for the version you want; this request ends here.",
            )


def _names(row: Deployment, known: Catalogue) -> tuple[App, Environment]:
    """The app and the environment of a deployment, as the catalogue has them now."""
    app, environment = known.apps.get(row.app), known.environments.get(row.environment)
    if app is None or environment is None:
        raise Refused(
            ReasonCode.UNKNOWN_APP,
            f"`{row.app}` or `{row.environment}` is no longer in `locktender.yaml`.",
            "Ask again with the names that are there.",
        )
    return app, environment
