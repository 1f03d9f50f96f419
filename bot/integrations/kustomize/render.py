"""The overlay as kustomize builds it: exported from git, built behind a fence, remembered by what it was built from."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from bot.integrations.kustomize.command import Fence, Finished, Stopped, find_command, run
from bot.integrations.kustomize.company import Company, Outcome, Trust
from bot.integrations.kustomize.manifests import load
from bot.integrations.kustomize.reach import Reach, ReachIndex
from bot.integrations.kustomize.scratch import Scratch
from bot.integrations.kustomize.seen import Seen
from bot.integrations.recent import Recent
from commands.ports import Rendered, Tree
from commands.reasons import ReasonCode, Refused

_MOST_DETAIL = 1000  # characters of kustomize's own words


class KustomizeRenderer:
    """`ports.Renderer` on real kustomize. Safe to use from several threads; at most `parallel` builds run at once.

    `command` is what `find_command` answers; `cache_bytes` bounds the remembered texts.
    """

    def __init__(
        self,
        command: tuple[str, ...] | None = None,
        *,
        fence: Fence | None = None,
        cache_bytes: int = 64 * 1024**2,
        parallel: int = 2,
    ) -> None:
        self._command = command or find_command()
        self._fence = fence or Fence()
        self._index = ReachIndex()
        self._cache = Recent[str, str](cache_bytes, weigh=len)
        self._parallel = parallel
        self._slots = threading.BoundedSemaphore(parallel)
        self._trust = Trust()
        self._scratch = Scratch()

    def key(self, tree: Tree, overlay: str) -> str:
        """The same key means the same build. Refused: OVERLAY_MISSING, OVERLAY_UNSAFE, OVERLAY_INVALID, REMOTE_BASE."""
        return self._index.reach(tree, overlay).key

    def render_many(self, tree: Tree, overlays: Sequence[str]) -> dict[str, Rendered | Refused]:
        """What `render` gives or raises for each of these overlays, to the byte, in few runs of kustomize.

        Overlays that can be shown not to mix are built by one run (see `isolation`), all others alone.
        """
        with tree.held() as held:
            return self._render_many(Seen(held), overlays)

    def _render_many(self, tree: Tree, overlays: Sequence[str]) -> dict[str, Rendered | Refused]:
        answers: dict[str, Rendered | Refused] = {}
        waiting: list[Reach] = []
        for overlay in dict.fromkeys(overlay.strip("/") for overlay in overlays):
            try:
                reach = self._index.reach(tree, overlay)
            except Refused as fault:
                answers[overlay] = fault
                continue
            known = self._cache.get(reach.key)
            if known is None:
                waiting.append(reach)
            else:
                answers[overlay] = Rendered(known, cached=True)
        for reach, outcome in self._built(tree, waiting):
            if isinstance(outcome, str):
                self._cache.put(reach.key, outcome)
                answers[reach.overlay] = Rendered(outcome, cached=False)
            else:
                answers[reach.overlay] = outcome
        return {overlay: answers[overlay.strip("/")] for overlay in overlays}

    def _built(self, tree: Tree, waiting: list[Reach]) -> list[tuple[Reach, Outcome]]:
        if len(waiting) > 1:
            company = Company(tree, self._index, self._scratch, self._run, self._read, self._trust, self._parallel)
            try:
                outcomes = company.build(waiting)
            except Refused:  # one of them cannot be exported: each on its own will show which
                pass
            else:
                return [(reach, outcomes[reach.overlay]) for reach in waiting]
        return [(reach, self._on_its_own(tree, reach)) for reach in waiting]

    def _on_its_own(self, tree: Tree, reach: Reach) -> Outcome:
        try:
            with self._slots:
                return self._build(tree, reach)
        except Refused as fault:
            return fault

    def _run(self, root: Path, folder: Path) -> Finished:
        with self._slots:
            return run((*self._command, str(folder)), root, self._fence)

    def _read(self, finished: Finished, overlay: str, root: Path) -> str:
        return _text(finished, overlay or ".", root, self._fence)

    def render(self, tree: Tree, overlay: str) -> Rendered:
        """Build the overlay, or give what it built to when everything it can read was the same.

        Refused: OVERLAY_MISSING, OVERLAY_UNSAFE, OVERLAY_INVALID, REMOTE_BASE, RENDER_FAILED (with kustomize's last
        words as `detail`), RENDER_LIMIT. Nothing is remembered of a build that failed.
        """
        reach = self._index.reach(tree, overlay)
        known = self._cache.get(reach.key)
        if known is not None:
            return Rendered(known, cached=True)
        with self._slots:
            known = self._cache.get(reach.key)  # another thread may have built it while we waited
            if known is not None:
                return Rendered(known, cached=True)
            text = self._build(tree, reach)
        self._cache.put(reach.key, text)
        return Rendered(text, cached=False)

    def _build(self, tree: Tree, reach: Reach) -> str:
        with self._scratch.folder() as root:
            source = root / "repository"
            source.mkdir()
            tree.export(list(reach.folders), source)
            for path, content in tree.read_many(list(reach.files)).items():
                (source / path).parent.mkdir(parents=True, exist_ok=True)
                (source / path).write_bytes(content)
            finished = run((*self._command, str(source / reach.overlay)), root, self._fence)
            return _text(finished, reach.overlay or ".", root, self._fence)


def workload_images(rendered: str, kind: str, name: str, namespace: str | None = None) -> dict[str, str] | None:
    """Container name to image of one workload in a rendered text; None when there is no such workload.

    Only `containers`: init containers come and go with a pod's start and are no part of what a rollout is waiting for.
    `kind` in any case (`deployment`). Without `namespace` the first of that name counts; with it, an object that names
    no namespace does too, because it is applied to the one that is asked about. Refused (RENDER_FAILED, RENDER_LIMIT)
    when the text cannot be read.
    """
    for manifest in load(rendered):
        ref = manifest.ref
        if ref.kind.casefold() != kind.casefold() or ref.name != name or ref.group not in {"apps", "batch", ""}:
            continue
        if namespace is None or ref.namespace in {"", namespace}:
            containers = _at(manifest.body, "spec", "template", "spec").get("containers")
            listed = containers if isinstance(containers, list) else []
            return {str(item.get("name")): str(item.get("image")) for item in listed if isinstance(item, dict)}
    return None


def uses_image(rendered: str, image: str) -> bool:
    """True when anything in a rendered text has this image, init containers and the pods of custom resources included.

    Refused (RENDER_FAILED, RENDER_LIMIT) when the text cannot be read.
    """
    return any(_holds_image(manifest.body, image) for manifest in load(rendered))


def _holds_image(value: object, image: str) -> bool:
    if isinstance(value, Mapping):
        return value.get("image") == image or any(_holds_image(one, image) for one in value.values())
    return isinstance(value, list) and any(_holds_image(one, image) for one in value)


def _at(body: Mapping[str, object], *keys: str) -> Mapping[str, object]:
    for key in keys:
        value = body.get(key)
        body = value if isinstance(value, dict) else {}
    return body


def _text(finished: Finished, overlay: str, root: Path, fence: Fence) -> str:
    """The text of a build that went well. Refused: RENDER_FAILED, RENDER_LIMIT."""
    if finished.stopped is not None:
        limit = {
            Stopped.TIME: f"it took longer than {fence.seconds:g} seconds",
            Stopped.MEMORY: f"it needed more than {fence.memory // 1024**2:,} MiB of memory",
            Stopped.OUTPUT: f"it printed more than {fence.output // 1024**2:,} MiB",
        }[finished.stopped]
        raise Refused(
            ReasonCode.RENDER_LIMIT,
            f"Building `{overlay}` was stopped: {limit}.",
            "Look for YAML aliases that multiply or for very large files in the overlay and its bases.",
        )
    if finished.code != 0:
        raise _failed(overlay, _last_words(finished.stderr, root))
    try:
        return finished.stdout.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _failed(overlay, "its output is not UTF-8 text") from error


def _failed(overlay: str, detail: str) -> Refused:
    return Refused(
        ReasonCode.RENDER_FAILED,
        f"kustomize could not build `{overlay}`.",
        f"Run `kustomize build {overlay}` in a clone of the infra-repo, correct what it names, then ask again.",
        detail=detail,
    )


def _last_words(stderr: bytes, root: Path) -> str:
    """What kustomize said was wrong, without its warnings and without paths of this machine."""
    text = stderr.decode(errors="replace")
    for place in (f"{root}/repository/", f"{root}/repository", f"{root}/", str(root)):
        text = text.replace(place, "" if place.endswith("/") else ".")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("# Warning")]
    told = next(
        (number for number, line in enumerate(lines) if line.lower().startswith("error")), max(0, len(lines) - 3)
    )
    detail = "\n".join(lines[told:])
    return detail if len(detail) <= _MOST_DETAIL else "…" + detail[-_MOST_DETAIL:]
