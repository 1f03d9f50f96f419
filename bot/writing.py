"""What a deployment changes in git: the overlay's image, rendered before it is committed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bot.content import Content, Contents, Wanted, current_image, find_overlay
from bot.integrations.kustomize.diff import diff
from bot.integrations.kustomize.render import uses_image, workload_images
from bot.integrations.overlaid import Overlaid
from commands.catalogue import App, Catalogue, Environment
from commands.grammar import nearest
from commands.ports import (
    CommitAuthor,
    CommitRequest,
    ImageRef,
    InfraRepo,
    People,
    Person,
    Registry,
    Renderer,
    Tree,
    WorkloadRef,
)
from commands.reasons import ReasonCode, Refused, Retry, Unknown
from commands.requests import Source, listed
from commands.tokens import ACTOR
from storage.models import Deployment, Kind
from storage.unit_of_work import BOT

MOST_DIFF_LINES = 60


@dataclass(frozen=True)
class Plan:
    """A change worked out on one commit.

    `images` are those that the workload will run, by container; empty when no workload is watched.
    """

    commit: str
    content: Content
    images: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The tag that git will say; the digest where there is no tag."""
        return self.content.image.tag or self.content.image.digest


@dataclass(frozen=True)
class Difference:
    """What a change does to the rendered manifests: one line, and the whole as text."""

    summary: str
    text: str


@dataclass(frozen=True)
class Written:
    """A change that is on the remote branch."""

    commit: str
    parent: str
    tries: int
    story: str  # for the card's thread
    difference: str
    images: Mapping[str, str] = field(default_factory=dict)
    """What the watched workload runs at this commit, by container; empty when nothing is watched or it is not known.
    The branch may have moved between the check and the push."""


@dataclass(frozen=True)
class _Told:
    """A commit of ours for the thread: `said` are sentences about what was restored and what was not."""

    difference: Difference
    images: Mapping[str, str]
    said: tuple[str, ...]


class Writing:
    """Plans, renders and commits image changes. Thread-safe as far as its parts are."""

    def __init__(
        self,
        infra: InfraRepo,
        renderer: Renderer,
        people: People,
        registry: Callable[[Catalogue, App], Registry | None],
        head: Callable[[], str],
        checkpoint: Callable[[], tuple[tuple[str, str], ...]] = tuple,
    ) -> None:
        self._infra = infra
        self._renderer = renderer
        self._people = people
        self._registry = registry
        self._head = head
        self._checkpoint = checkpoint
        self._contents = Contents(infra)

    def plan(
        self,
        row: Deployment,
        known: Catalogue,
        app: App,
        environment: Environment,
        workload: WorkloadRef | None,
    ) -> Plan:
        """What this deployment would change, rendered, so that what cannot be built is never committed.

        The digest is the registry's, where there is one. It is worked out on the head as last fetched; what stops it
        there may be mended by now, so that is looked for on a fresh head before anybody is told.
        """
        wanted = self.wanted(row, known, app, environment)
        head = self._head()
        try:
            return self._rendered(self._plan(known, wanted, at=head), workload)
        except Refused:
            fresh = self._infra.refresh()
            if fresh == head:
                raise
            return self._rendered(self._plan(known, wanted, at=fresh), workload)

    def wanted(self, row: Deployment, known: Catalogue, app: App, environment: Environment) -> Wanted:
        """What is asked of git. A digest that nobody has named is the registry's, where there is one."""
        digest = row.digest or ("" if row.restore_commit else self._digest(known, app, row.version))
        return Wanted(app, environment, row.version, digest, row.restore_commit, row.exact)

    def author(self, row: Deployment) -> CommitAuthor:
        """Who asked, as a commit's author."""
        if row.requested_by == BOT:
            return CommitAuthor("Locktender", "locktender@localhost")
        if row.source == Source.API:
            # A token is nobody in Slack. Whom it names has said nothing: that stands in a trailer, not as the author.
            return CommitAuthor(row.requested_by, f"{row.requested_by.removeprefix(ACTOR)}@api.locktender.invalid")
        return author_of(self._people.person(row.team_id, row.requested_by))

    def content(self, tree: Tree, known: Catalogue, wanted: Wanted) -> Content:
        """What becomes of a tree."""
        return self._contents.of(tree, known, wanted)

    def said(self, known: Catalogue, app: App, environment: Environment) -> ImageRef:
        """What git says about this app's image now."""
        tree = self._infra.tree(self._infra.refresh())
        return current_image(tree, find_overlay(tree, known, app, environment), app)

    def _rendered(self, plan: Plan, workload: WorkloadRef | None) -> Plan:
        """The plan with the images it leads to. Refused when the overlay has no such workload, or no such image."""
        return replace(plan, images=self.images(self._after(plan), plan.content, workload))

    def images(self, tree: Tree, content: Content, workload: WorkloadRef | None) -> Mapping[str, str]:
        """What the workload will run, by container, in a tree that has this content; empty when none is watched."""
        overlay, wanted = content.overlay, str(content.image)
        text = self._renderer.render(tree, overlay).text
        correct = "Correct `image:` in `locktender.yaml`, or the image in the base's manifest."
        if workload is None:
            if not uses_image(text, wanted):
                raise Refused(
                    ReasonCode.IMAGE_UNUSED, f"Nothing in `{overlay}` uses the image `{content.image.name}`.", correct
                )
            return {}
        found = workload_images(text, workload.kind, workload.name)
        if found is None:
            raise Refused(
                ReasonCode.WORKLOAD_MISSING,
                f"The overlay `{overlay}` renders no `{workload}`.",
                "Name the right one with `workload:` in `locktender.yaml`, or add it to the base.",
            )
        if wanted not in found.values():
            raise Refused(
                ReasonCode.IMAGE_UNUSED,
                f"No container of `{workload}` in `{overlay}` uses the image `{content.image.name}`: "
                f"they use {listed(sorted(set(found.values())), joiner='and')}.",
                correct,
            )
        return found

    def difference(self, plan: Plan) -> Difference:
        """What the plan does to the rendered manifests."""
        overlay = plan.content.overlay
        before = self._renderer.render(self._infra.tree(plan.commit), overlay).text
        changed = diff(before, self._renderer.render(self._after(plan), overlay).text)
        return Difference(changed.summary(), changed.unified(MOST_DIFF_LINES))

    def ensure(self, row: Deployment, known: Catalogue, app: App, environment: Environment) -> Written:
        """Commit the change exactly once. When git says it already, the head is the commit."""
        wanted = Wanted(app, environment, row.version, row.digest, row.restore_commit, row.exact)
        author = self.author(row)
        request = CommitRequest(
            deployment_id=row.id,
            subject=subject(row),
            author=author,
            trailers=trailers((row,), self._checkpoint()),
            body=row.reason,
        )

        def change(tree: Tree) -> Mapping[str, bytes | None]:
            content = self._contents.of(tree, known, wanted)
            # On this head too: it may not be the planned one.
            self._renderer.render(Overlaid(tree, content.changes), content.overlay)
            return content.changes

        try:
            commit = self._infra.ensure_commit(request, change)
        except Refused as fault:
            if fault.reason is not ReasonCode.ALREADY_LIVE:
                raise
            head = self._infra.head() or ""
            story = f"Git said {row.version} already, so there was nothing to commit; it is applied again."
            return Written(head, head, 0, story, "", self._images_said(known, app, environment, row, head))
        told = self._told(known, wanted, row, commit.parent)
        story = " ".join((f"Committed `{commit.sha[:12]}` by {author.name}: {told.difference.summary}.", *told.said))
        return Written(commit.sha, commit.parent, commit.tries, story, told.difference.text, told.images)

    def merged(
        self, row: Deployment, known: Catalogue, app: App, environment: Environment, commit: str, parent: str
    ) -> Written:
        """What a merge that is on the branch means for one deployment of it."""
        images = self._images_said(known, app, environment, row, commit)
        return Written(commit, parent, 1, f"Merged `{commit[:12]}`.", "", images)

    def _told(self, known: Catalogue, wanted: Wanted, row: Deployment, parent: str) -> "_Told":
        """What the thread says of it, and the images that are now asked for.

        The commit is there: that these cannot be told must not fail the deployment.
        """
        try:
            plan = self._plan(known, wanted, at=parent)
            images = self._of_workload(self._after(plan), plan.content.overlay, row)
            return _Told(self.difference(plan), images, plan.content.told)
        except (Refused, Retry, Unknown) as fault:
            return _Told(Difference(f"the difference cannot be shown ({fault.reason})", ""), {}, ())

    def _images_said(
        self, known: Catalogue, app: App, environment: Environment, row: Deployment, head: str
    ) -> Mapping[str, str]:
        try:
            tree = self._infra.tree(head)
            return self._of_workload(tree, find_overlay(tree, known, app, environment), row)
        except (Refused, Retry, Unknown):
            return {}

    def _of_workload(self, tree: Tree, overlay: str, row: Deployment) -> Mapping[str, str]:
        if not row.workload:
            return {}
        kind, _, name = row.workload.partition("/")
        return workload_images(self._renderer.render(tree, overlay).text, kind, name) or {}

    def _plan(self, known: Catalogue, wanted: Wanted, *, at: str = "") -> Plan:
        tree = self._infra.tree(at or self._head())
        return Plan(tree.commit, self._contents.of(tree, known, wanted))

    def _after(self, plan: Plan) -> Tree:
        return Overlaid(self._infra.tree(plan.commit), plan.content.changes)

    def _digest(self, known: Catalogue, app: App, version: str) -> str:
        registry = self._registry(known, app)
        if registry is None:
            return ""
        digest = registry.digest(app.image, version)
        if digest is not None:
            return digest
        near = nearest(version, registry.tags(app.image))
        raise Refused(
            ReasonCode.UNKNOWN_VERSION,
            f"The registry has no `{app.image}:{version}`. Nothing was committed.",
            f"Did you mean {listed(near)}?" if near else "Check that the build which pushes it has ended.",
        )


def author_of(person: Person) -> CommitAuthor:
    """The person as a commit's author. Without a readable e-mail the Slack id stands in, at a domain nobody can own."""
    name = person.name or person.user_id
    return CommitAuthor(name, person.email or f"{person.user_id}@{person.team_id}.slack.invalid")


def subject(row: Deployment) -> str:
    """The first line of its commit."""
    match row.kind:
        case Kind.PROMOTE:
            return f"Promote {row.app} {row.version} from {row.promoted_from} to {row.environment}"
        case Kind.ROLLBACK:
            return f"Roll {row.app} back to {row.version} in {row.environment}"
        case _:
            return f"Deploy {row.app} {row.version} to {row.environment}"


def trailers(rows: Sequence[Deployment], more: tuple[tuple[str, str], ...] = ()) -> tuple[tuple[str, str], ...]:
    """What git keeps of a request: one Deployment-Id for each deployment that the commit is of."""
    first = rows[0]
    reason = (("Reason", first.reason),) if first.reason else ()
    restores = tuple(
        ("Restores", row.restores or row.restore_commit or f"image {row.version}")
        for row in rows
        if row.kind == Kind.ROLLBACK
    )
    return (
        *(("Deployment-Id", row.id) for row in rows),
        ("Requested-by", f"{first.requested_by} ({first.team_id})"),
        *((("On-behalf-of", first.on_behalf_of),) if first.on_behalf_of else ()),
        *more,
        *reason,
        *restores,
        ("Slack", first.requested_in or first.source),
    )
