"""Branches `deploy/…`, one for each deployment that is reviewed: exactly one commit of ours on top of a known parent.

What is on such a branch is what people approve, so it is looked at before it is touched: the same change is left
alone (a crash or a lost answer is followed by the same call), an older one of ours is replaced with its head pinned,
and commits of anybody else stop us.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bot.integrations.git import history
from bot.integrations.git.answers import PushVerdict
from bot.integrations.git.branch import PATIENCE, Branch
from bot.integrations.git.message import DEPLOYMENT_TRAILER, identities, one_line
from bot.integrations.git.mirror import Mirror
from bot.integrations.git.names import deploy_branch
from bot.integrations.git.objects import Cache, Store
from bot.integrations.git.tree import GitTree
from bot.integrations.git.write import changed_files, write_commit, write_tree
from commands.ports import CommitAuthor, CommitRequest, Edit, LoggedCommit
from commands.reasons import ReasonCode, Refused, Retry
from commands.requests import outside

_MAX_TRIES = 5  # pushes: only somebody who keeps pushing to a branch of ours could make us need more
_TOLD = 10  # commits of others that a refusal names


@dataclass(frozen=True)
class _Wish:
    """What the branch shall hold."""

    request: CommitRequest
    branch: str
    parent: str
    changed: Mapping[str, bytes | None]


class DeployBranches:
    """The branches that are ours. Thread-safe. `main` is the branch that is deployed from, which never is one."""

    def __init__(self, mirror: Mirror, store: Store, cache: Cache, main: Branch, committer: CommitAuthor) -> None:
        self._mirror = mirror
        self._reading = store
        self._writing = Store(lambda: mirror.commands, cache)  # we hold the mirror then, and mend it ourselves
        self._main = main
        self._committer = committer
        # E-mail addresses are compared as git has stored them.
        self._email = identities(committer, committer)["GIT_COMMITTER_EMAIL"]

    def fetch(self, branch: str) -> str | None:
        """The branch's commit, fetched; None when there is no such branch."""
        with self._mirror.held(PATIENCE):
            return self._mirror.mended(lambda: self._mirror.fetch_branch(branch))

    def ensure(self, request: CommitRequest, branch: str, parent: str, edit: Edit) -> str:
        """See `GitInfraRepo.ensure_branch`."""
        self._check_ours(branch)
        # Nothing is written before the edit is known, so others need not wait for it.
        wish = _Wish(request, branch, parent, self._changed(parent, edit))
        with self._mirror.held(PATIENCE):
            return self._repeat(branch, lambda: self._put(wish))

    def remove(self, branch: str) -> None:
        """See `GitInfraRepo.ensure_no_branch`."""
        self._check_ours(branch)
        with self._mirror.held(PATIENCE):
            self._repeat(branch, lambda: self._delete(branch))

    def _check_ours(self, branch: str) -> None:
        if deploy_branch(branch) == self._mirror.branch:
            raise Refused(
                ReasonCode.NOT_PERMITTED,
                f"`{branch}` is the branch that is deployed from: it is never replaced or deleted.",
                "Set INFRA_REPO_BRANCH to a branch outside of `deploy/`.",
            )

    def _changed(self, parent: str, edit: Edit) -> Mapping[str, bytes | None]:
        try:
            self._reading.read(lambda reader: reader.root(parent))
        except Refused:
            self._main.refresh()  # another replica may have fetched it
        changes = edit(GitTree(self._reading, parent))
        changed = self._reading.read(lambda reader: changed_files(reader, parent, changes))
        if not changed:
            raise Refused(
                ReasonCode.NO_CHANGE,
                f"There is nothing to change: commit {parent[:12]} already says so.",
                "Nothing has to be done; to apply it again, run the pipeline for that commit.",
            )
        return changed

    def _repeat(self, branch: str, attempt: "Callable[[], str | None]") -> str:
        """Until an attempt says what came of it; None: somebody moved the branch meanwhile."""
        for number in range(_MAX_TRIES):
            answer = self._mirror.mended(attempt)
            if answer is not None:
                return answer
            time.sleep(random.uniform(0, 0.02 * 2**number))  # noqa: S311 - jitter, no secret
        raise Retry(
            ReasonCode.PUSH_RACE,
            f"Somebody else kept changing the branch `{branch}`: {_MAX_TRIES} pushes came too late.",
            "Wait: it is tried again.",
        )

    def _put(self, wish: _Wish) -> str | None:
        there = self._mirror.fetch_branch(wish.branch)
        commands, cache = self._mirror.commands, self._writing.cache
        root = write_tree(commands, cache, wish.parent, wish.changed)
        if there is not None and self._holds(there, root, wish):
            return there
        commit = write_commit(commands, cache, wish.request, self._committer, wish.parent, root)
        verdict = self._mirror.push(wish.branch, commit, there or "")
        return commit if verdict is PushVerdict.DONE else None

    def _delete(self, branch: str) -> str | None:
        there = self._mirror.heads().get(branch)
        if there is None:
            self._mirror.forget([branch])
            return branch
        return branch if self._mirror.push(branch, "", there) is PushVerdict.DONE else None

    def _holds(self, head: str, root: str, wish: _Wish) -> bool:
        """True when the change is there; False when what is there may be replaced. Refused (BRANCH_TAKEN) else."""
        commands = self._mirror.commands
        (last,) = history.beyond(commands, head, (), 1)
        with self._writing.reader() as reader:
            same = reader.root(head) == root
        if same and last.parents == (wish.parent,) and self._is_ours(last, wish.request):
            return True
        # The branch may stand on commits of the main branch that are newer than what we know.
        main = self._main.fetch()
        added = history.beyond(self._mirror.commands, head, (main, wish.parent), 100)
        others = [commit for commit in added if not self._is_ours(commit, wish.request)]
        if others:
            raise _taken(wish.branch, self._mirror.access.address, others, self._email)
        return False

    def _is_ours(self, commit: LoggedCommit, request: CommitRequest) -> bool:
        stated = (DEPLOYMENT_TRAILER, request.deployment_id) in commit.trailers
        return stated and commit.committer.email == self._email


def _taken(branch: str, where: str, others: list[LoggedCommit], ours: str) -> Refused:
    people = dict.fromkeys(
        _name(person) for commit in others for person in (commit.author, commit.committer) if person.email != ours
    )
    who = ", ".join(list(people)[:_TOLD]) or "another deployment"
    lines = (f"{commit.sha[:12]} {_name(commit.author)}: {_plain(commit.subject)}" for commit in others[:_TOLD])
    return Refused(
        ReasonCode.BRANCH_TAKEN,
        f"The branch `{branch}` of {where} holds commits that are not this deployment's, by {who}. "
        "They are not thrown away.",
        "Let them move their commits to a branch of their own and delete this one; then deploy again.",
        detail="\n".join(lines),
    )


def _name(person: CommitAuthor) -> str:
    return f"{_plain(person.name)} <{_plain(person.email)}>"


def _plain(text: str) -> str:
    """What a stranger wrote into a commit: on one line, without characters that deceive or pass for a mention."""
    return outside(one_line(text, 80)).replace("`", "'")
