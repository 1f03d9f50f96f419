"""What a deployment changes in git: the overlay's image, rendered before it is committed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from bot.integrations.kustomize.diff import diff
from bot.integrations.kustomize.edit import image_edit, overlay_file, read_image
from bot.integrations.kustomize.render import uses_image, workload_images
from bot.integrations.overlaid import Overlaid
from commands.catalogue import App, Catalogue, Environment
from commands.grammar import nearest
from commands.ports import (
    CommitAuthor,
    CommitRequest,
    ImageEdit,
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
from commands.requests import listed
from storage.models import Deployment

MOST_DIFF_LINES = 60


@dataclass(frozen=True)
class Plan:
    """A change worked out on one commit. `before` is what the overlay says there now.

    `images` are those that the workload will run, by container; empty when no workload is watched.
    """

    commit: str
    overlay: str
    before: ImageRef
    edit: ImageEdit
    changes: Mapping[str, bytes]
    images: Mapping[str, str] = field(default_factory=dict)


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


class Writing:
    """Plans, renders and commits image changes. Thread-safe as far as its parts are."""

    def __init__(
        self,
        infra: InfraRepo,
        renderer: Renderer,
        people: People,
        registry: Callable[[Catalogue, App], Registry | None],
        head: Callable[[], str],
    ) -> None:
        self._infra = infra
        self._renderer = renderer
        self._people = people
        self._registry = registry
        self._head = head

    def plan(
        self, known: Catalogue, app: App, environment: Environment, version: str, workload: WorkloadRef | None
    ) -> Plan:
        """What deploying this version would change, rendered, so that what cannot be built is never committed.

        The digest is the registry's, where there is one. It is worked out on the head as last fetched; what stops it
        there may be mended by now, so that is looked for on a fresh head before anybody is told.
        """
        digest = self._digest(known, app, version)
        head = self._head()
        try:
            return self._rendered(self._plan(known, app, environment, version, digest, at=head), workload)
        except Refused:
            fresh = self._infra.refresh()
            if fresh == head:
                raise
            return self._rendered(self._plan(known, app, environment, version, digest, at=fresh), workload)

    def said(self, known: Catalogue, app: App, environment: Environment) -> ImageRef:
        """What git says about this app's image now."""
        tree = self._infra.tree(self._infra.refresh())
        return current_image(tree, find_overlay(tree, known, app, environment), app)

    def _rendered(self, plan: Plan, workload: WorkloadRef | None) -> Plan:
        """The plan with the images it leads to. Refused when the overlay has no such workload, or no such image."""
        text = self._renderer.render(self._after(plan), plan.overlay).text
        wanted = str(
            ImageRef(plan.edit.new_name or plan.before.name or plan.edit.name, plan.edit.tag, plan.edit.digest)
        )
        correct = "Correct `image:` in `locktender.yaml`, or the image in the base's manifest."
        if workload is None:
            if not uses_image(text, wanted):
                raise Refused(
                    ReasonCode.IMAGE_UNUSED, f"Nothing in `{plan.overlay}` uses the image `{plan.edit.name}`.", correct
                )
            return plan
        found = workload_images(text, workload.kind, workload.name)
        if found is None:
            raise Refused(
                ReasonCode.WORKLOAD_MISSING,
                f"The overlay `{plan.overlay}` renders no `{workload}`.",
                "Name the right one with `workload:` in `locktender.yaml`, or add it to the base.",
            )
        if wanted not in found.values():
            raise Refused(
                ReasonCode.IMAGE_UNUSED,
                f"No container of `{workload}` in `{plan.overlay}` uses the image `{plan.edit.name}`: "
                f"they use {listed(sorted(set(found.values())), joiner='and')}.",
                correct,
            )
        return replace(plan, images=found)

    def difference(self, plan: Plan) -> Difference:
        """What the plan does to the rendered manifests."""
        before = self._renderer.render(self._infra.tree(plan.commit), plan.overlay).text
        changed = diff(before, self._renderer.render(self._after(plan), plan.overlay).text)
        return Difference(changed.summary(), changed.unified(MOST_DIFF_LINES))

    def ensure(self, row: Deployment, known: Catalogue, app: App, environment: Environment) -> Written:
        """Commit the change exactly once. When git says it already, the head is the commit."""
        edit = ImageEdit(app.image, row.version, row.digest)
        author = author_of(self._people.person(row.team_id, row.requested_by))
        request = CommitRequest(
            deployment_id=row.id,
            subject=f"Deploy {row.app} {row.version} to {row.environment}",
            author=author,
            trailers=_trailers(row),
            body=row.reason,
        )

        def change(tree: Tree) -> Mapping[str, bytes]:
            overlay = find_overlay(tree, known, app, environment)
            changes = image_edit(overlay, edit)(tree)
            self._renderer.render(Overlaid(tree, changes), overlay)  # on this head too: it may not be the planned one
            return changes

        try:
            commit = self._infra.ensure_commit(request, change)
        except Refused as fault:
            if fault.reason is not ReasonCode.ALREADY_LIVE:
                raise
            head = self._infra.head() or ""
            story = f"Git said {row.version} already, so there was nothing to commit; it is applied again."
            return Written(head, head, 0, story, "", self._images_said(known, app, environment, row, head))
        difference, images = self._told(known, app, environment, row, commit.parent)
        story = f"Committed `{commit.sha[:12]}` by {author.name}: {difference.summary}."
        return Written(commit.sha, commit.parent, commit.tries, story, difference.text, images)

    def _told(
        self, known: Catalogue, app: App, environment: Environment, row: Deployment, parent: str
    ) -> tuple[Difference, Mapping[str, str]]:
        """The difference for the thread, and the images that are now asked for.

        The commit is there: that these cannot be told must not fail the deployment.
        """
        try:
            plan = self._plan(known, app, environment, row.version, row.digest, at=parent)
            return self.difference(plan), self._of_workload(self._after(plan), plan.overlay, row)
        except (Refused, Retry, Unknown) as fault:
            return Difference(f"the difference cannot be shown ({fault.reason})", ""), {}

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

    def _plan(
        self, known: Catalogue, app: App, environment: Environment, version: str, digest: str, *, at: str = ""
    ) -> Plan:
        tree = self._infra.tree(at or self._head())
        overlay = find_overlay(tree, known, app, environment)
        before = current_image(tree, overlay, app)
        edit = ImageEdit(app.image, version, digest)
        return Plan(tree.commit, overlay, before, edit, image_edit(overlay, edit)(tree))

    def _after(self, plan: Plan) -> Tree:
        return Overlaid(self._infra.tree(plan.commit), plan.changes)

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


def find_overlay(tree: Tree, known: Catalogue, app: App, environment: Environment) -> str:
    """The first of the app's possible overlay folders that exists. Refused (OVERLAY_MISSING) naming all of them."""
    candidates = known.overlays(app, environment)
    for overlay in candidates:
        if tree.entry(overlay) is not None:
            overlay_file(tree, overlay)
            return overlay
    raise Refused(
        ReasonCode.OVERLAY_MISSING,
        f"The infra-repo has no overlay for `{app.name}` in `{environment.name}`: looked for {listed(candidates)}.",
        "Add the folder with a kustomization.yaml, or name the right one with `overlay:` in `locktender.yaml`.",
    )


def current_image(tree: Tree, overlay: str, app: App) -> ImageRef:
    """What the overlay says about the app's image; an ImageRef without tag and digest when it says nothing."""
    path = overlay_file(tree, overlay)
    return read_image(tree.read(path) or b"", app.image, path=path) or ImageRef("")


def author_of(person: Person) -> CommitAuthor:
    """The person as a commit's author. Without a readable e-mail the Slack id stands in, at a domain nobody can own."""
    name = person.name or person.user_id
    return CommitAuthor(name, person.email or f"{person.user_id}@{person.team_id}.slack.invalid")


def _trailers(row: Deployment) -> tuple[tuple[str, str], ...]:
    reason = (("Reason", row.reason),) if row.reason else ()
    return (
        ("Deployment-Id", row.id),
        ("Requested-by", f"{row.requested_by} ({row.team_id})"),
        *reason,
        ("Slack", row.requested_in or row.source),
    )
