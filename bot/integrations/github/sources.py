"""What lies between two versions of an app's source, where that is on the same GitHub and the bot may read it."""

import threading
from collections import OrderedDict

from bot.integrations.github import names, texts
from bot.integrations.github.answers import Commit, Compared, Reference
from bot.integrations.github.faults import AnsweredError
from bot.integrations.github.names import Repository
from bot.integrations.github.wire import Wire
from commands.code_host import Comparison, SourceCommit
from commands.reasons import Refused

MOST_COMMITS = 250
_REMEMBERED = 256
_NEED = "contents to read"


class Sources:
    """Compares versions. What is between two commits never changes, so answers are kept, up to a number."""

    def __init__(self, wire: Wire, api: str) -> None:
        self._wire, self._api = wire, api
        self._kept: OrderedDict[tuple[str, str, str], Comparison] = OrderedDict()
        self._guard = threading.Lock()

    def compare(self, source: str, before: str, after: str) -> Comparison | None:
        """See `ports.CodeHost.compare`. Retry when GitHub cannot be asked; None when it does not tell."""
        repository = names.linked(source, self._api)
        if repository is None:
            return None
        try:
            first, second = self._found(repository, before), self._found(repository, after)
            if first is None or second is None:
                return None
            return self._remembered(repository, source.rstrip("/").removesuffix(".git"), first, second)
        except Refused:
            return None  # Nice to have: what the bot may not see is not worth a deployment.

    def _remembered(
        self, repository: Repository, link: str, first: tuple[str, str], second: tuple[str, str]
    ) -> Comparison:
        key = (str(repository).lower(), first[1], second[1])
        with self._guard:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
        if known is None:
            known = self._ask(repository, link, first, second)
        with self._guard:
            self._kept[key] = known
            while len(self._kept) > _REMEMBERED:
                self._kept.popitem(last=False)
        return known

    def _found(self, repository: Repository, version: str) -> tuple[str, str] | None:
        """The name of this version and the commit it stands for now: a tag can be moved, so it is looked up again."""
        for name in names.candidates(version):
            sha = self._sha(f"{repository.path}/commits/tags/{names.quoted(name)}")
            if sha:
                return name, sha
        prefix = names.commit_prefix(version)
        sha = self._sha(f"{repository.path}/commits/{prefix}") if prefix else None
        # A branch can have a name like a commit's.
        return (sha, sha) if sha and prefix and sha.startswith(prefix) else None

    def _sha(self, path: str) -> str | None:
        try:
            sha = self._wire.get(Reference, path, need=_NEED).sha
        except AnsweredError as error:
            if error.reply.status not in {404, 409, 422}:  # 409: the repository is empty; 422: no such commit
                raise
            return None
        return sha if names.is_sha(sha) else None

    def _ask(self, repository: Repository, link: str, first: tuple[str, str], second: tuple[str, str]) -> Comparison:
        commits: list[SourceCommit] = []
        total = 0
        path = f"{repository.path}/compare/{first[1]}...{second[1]}"
        for page in self._wire.pages(Compared, path, need=_NEED):
            total = page.total_commits
            commits += [_told(commit, link) for commit in page.commits]
            if len(commits) >= MOST_COMMITS:
                break
        url = f"{link}/compare/{names.quoted(first[0])}...{names.quoted(second[0])}"
        return Comparison(url, total, tuple(commits[:MOST_COMMITS]))


def _told(commit: Commit, link: str) -> SourceCommit:
    author = commit.commit.author
    return SourceCommit(
        sha=commit.sha,
        subject=texts.line(commit.commit.message.partition("\n")[0], 200),
        author=texts.line(author.name, 100) if author else "",
        login=commit.author.login if commit.author else "",
        url=f"{link}/commit/{commit.sha}" if names.is_sha(commit.sha) else "",
    )
