"""GitHub's JSON of git's things: commits, files, comparisons, branches, refs, contents, statuses and checks."""

from urllib.parse import quote

from bot.sandbox.github_git import CommitInfo, Entry, FileChange, Ident, when
from bot.sandbox.github_json import Render
from bot.sandbox.github_json_people import node
from bot.sandbox.github_model import Account, CheckRun, Json, Role, Rules, RuleSource, Status, stamp

RULESET = 42
"""The id of the one ruleset there is."""


class GitRender(Render):
    """JSON for one client, git's part."""

    # ------------------------------------------------------------ commits

    def commit(self, info: CommitInfo, files: tuple[FileChange, ...] | None = None) -> Json:
        """A commit; with files, as its own page of the API tells it."""
        url = f"{self.repo_url}/commits/{info.sha}"
        told: Json = {
            "sha": info.sha,
            "node_id": node("C", info.sha),
            "commit": {
                "author": _ident(info.author),
                "committer": _ident(info.committer),
                "message": info.message,
                "tree": {"sha": info.tree, "url": f"{self.repo_url}/git/trees/{info.tree}"},
                "url": f"{self.repo_url}/git/commits/{info.sha}",
                "comment_count": 0,
                "verification": {
                    "verified": False,
                    "reason": "unsigned",
                    "signature": None,
                    "payload": None,
                    "verified_at": None,
                },
            },
            "url": url,
            "html_url": f"{self.repo_page}/commit/{info.sha}",
            "comments_url": f"{url}/comments",
            "author": self._person(info.author),
            "committer": self._person(info.committer),
            "parents": [
                {
                    "sha": parent,
                    "url": f"{self.repo_url}/commits/{parent}",
                    "html_url": f"{self.repo_page}/commit/{parent}",
                }
                for parent in info.parents
            ],
        }
        if files is not None:
            added, deleted = sum(file.additions for file in files), sum(file.deletions for file in files)
            told["stats"] = {"total": added + deleted, "additions": added, "deletions": deleted}
            told["files"] = [self.file(file, info.sha) for file in files]
        return told

    def _person(self, ident: Ident) -> Json | None:
        """Whom GitHub knows by the address; null where it knows nobody."""
        account = self.state.by_email(ident.email)
        return self.account(account) if account else None

    def file(self, file: FileChange, sha: str) -> Json:
        """A file that differs."""
        path = quote(file.path)
        told: Json = {
            "sha": file.blob,
            "filename": file.path,
            "status": file.status,
            "additions": file.additions,
            "deletions": file.deletions,
            "changes": file.additions + file.deletions,
            "blob_url": f"{self.repo_page}/blob/{sha}/{path}",
            "raw_url": f"{self.repo_page}/raw/{sha}/{path}",
            "contents_url": f"{self.repo_url}/contents/{path}?ref={sha}",
        }
        if file.patch:
            told["patch"] = file.patch
        if file.previous:
            told["previous_filename"] = file.previous
        return told

    # ------------------------------------------------------------ branches and refs

    def branch_short(self, name: str, sha: str) -> Json:
        """A branch as lists have it."""
        return {
            "name": name,
            "commit": {"sha": sha, "url": f"{self.repo_url}/commits/{sha}"},
            "protected": name in self.state.rules,
        }

    def branch(self, name: str, sha: str) -> Json:
        """A branch by itself. Anyone who can read sees which checks are required, and nothing else of the rules."""
        url = f"{self.repo_url}/branches/{quote(name)}"
        rules = self.state.rules.get(name)
        classic = rules if rules and rules.source is RuleSource.PROTECTION else None
        contexts = list(classic.checks) if classic else []
        level = "off" if not contexts else "everyone" if classic and classic.enforce_admins else "non_admins"
        return {
            "name": name,
            "commit": self.commit(self.state.git.commit(sha)),
            "_links": {"self": url, "html": f"{self.repo_page}/tree/{quote(name)}"},
            "protected": rules is not None,
            "protection": {
                "enabled": classic is not None,
                "required_status_checks": {
                    "enforcement_level": level,
                    "contexts": contexts,
                    "checks": [{"context": context, "app_id": classic and classic.checks_from} for context in contexts],
                },
            },
            "protection_url": f"{url}/protection",
        }

    def protection(self, name: str, rules: Rules) -> Json:
        """Classic branch protection, for administrators."""
        url = f"{self.repo_url}/branches/{quote(name)}/protection"
        told: Json = {
            "url": url,
            "required_signatures": {"url": f"{url}/required_signatures", "enabled": False},
            "enforce_admins": {"url": f"{url}/enforce_admins", "enabled": rules.enforce_admins},
        }
        for key in (
            "required_linear_history",
            "allow_force_pushes",
            "allow_deletions",
            "block_creations",
            "required_conversation_resolution",
            "lock_branch",
            "allow_fork_syncing",
        ):
            told[key] = {"enabled": False}
        if rules.checks or rules.strict:
            told["required_status_checks"] = {
                "url": f"{url}/required_status_checks",
                "strict": rules.strict,
                "contexts": list(rules.checks),
                "contexts_url": f"{url}/required_status_checks/contexts",
                "checks": [{"context": context, "app_id": rules.checks_from} for context in rules.checks],
            }
        if rules.reviews or rules.code_owners or rules.last_push:
            told["required_pull_request_reviews"] = {
                "url": f"{url}/required_pull_request_reviews",
                "dismiss_stale_reviews": rules.dismiss_stale,
                "require_code_owner_reviews": rules.code_owners,
                "require_last_push_approval": rules.last_push,
                "required_approving_review_count": rules.reviews,
            }
            if rules.bypass:
                allowed = {"users": [self.user(login) for login in rules.bypass], "teams": [], "apps": []}
                told["required_pull_request_reviews"]["bypass_pull_request_allowances"] = allowed
        return told

    def effective_rules(self, rules: Rules | None) -> list[Json]:
        """What rulesets ask of a branch. Classic protection is not told here."""
        if rules is None or rules.source is not RuleSource.RULESET:
            return []
        source = {"ruleset_source_type": "Repository", "ruleset_source": self.state.repository, "ruleset_id": RULESET}
        told: list[Json] = [
            {
                "type": "pull_request",
                "parameters": {
                    "required_approving_review_count": rules.reviews,
                    "dismiss_stale_reviews_on_push": rules.dismiss_stale,
                    "require_code_owner_review": rules.code_owners,
                    "require_last_push_approval": rules.last_push,
                    "required_review_thread_resolution": False,
                    "allowed_merge_methods": ["merge", "squash", "rebase"],
                },
                **source,
            }
        ]
        if rules.checks:
            parameters = {
                "strict_required_status_checks_policy": rules.strict,
                "do_not_enforce_on_create": False,
                "required_status_checks": [
                    {"context": context} | ({"integration_id": rules.checks_from} if rules.checks_from else {})
                    for context in rules.checks
                ],
            }
            told.append({"type": "required_status_checks", "parameters": parameters, **source})
        return told

    def ruleset(self, branch: str, rules: Rules, viewer: Account) -> Json:
        """The ruleset of a branch. Who may bypass it is for administrators; whether oneself may, for everyone."""
        url = f"{self.repo_url}/rulesets/{RULESET}"
        told: Json = {
            "id": RULESET,
            "name": f"Protect {branch}",
            "target": "branch",
            "source_type": "Repository",
            "source": self.state.repository,
            "enforcement": "active",
            "current_user_can_bypass": "always" if viewer.login in rules.bypass else "never",
            "node_id": node("RRS", RULESET),
            "_links": {"self": {"href": url}, "html": {"href": f"{self.repo_page}/rules/{RULESET}"}},
            "created_at": stamp(self.state.created),
            "updated_at": stamp(self.state.created),
            "conditions": {"ref_name": {"include": [f"refs/heads/{branch}"], "exclude": []}},
            "rules": [
                {key: rule[key] for key in ("type", "parameters") if key in rule}
                for rule in self.effective_rules(rules)
            ],
        }
        if viewer.role >= Role.ADMIN:
            told["bypass_actors"] = [
                {"actor_id": self.state.account(login).id, "actor_type": "User", "bypass_mode": "always"}
                for login in rules.bypass
            ]
        return told

    def ref(self, name: str, sha: str) -> Json:
        """A ref, by its full name."""
        return {
            "ref": name,
            "node_id": node("REF", name),
            "url": f"{self.repo_url}/git/{quote(name)}",
            "object": {"sha": sha, "type": "commit", "url": f"{self.repo_url}/git/commits/{sha}"},
        }

    def tag(self, name: str, sha: str) -> Json:
        """A tag as lists have it."""
        return {
            "name": name,
            "zipball_url": f"{self.repo_url}/zipball/refs/tags/{quote(name)}",
            "tarball_url": f"{self.repo_url}/tarball/refs/tags/{quote(name)}",
            "commit": {"sha": sha, "url": f"{self.repo_url}/commits/{sha}"},
            "node_id": node("REF", f"refs/tags/{name}"),
        }

    # ------------------------------------------------------------ comparisons and contents

    def comparison(self, base: str, head: str, words: str) -> Json | None:
        """Two commits compared; None when they have no history in common."""
        git = self.state.git
        parted = git.merge_base(base, head)
        if parted is None:
            return None
        ahead, behind = git.between(base, head), git.between(head, base)
        kind = "diverged" if ahead and behind else "ahead" if ahead else "behind" if behind else "identical"
        page = f"{self.repo_page}/compare/{words}"
        return {
            "url": f"{self.repo_url}/compare/{words}",
            "html_url": page,
            "permalink_url": f"{self.repo_page}/compare/{base[:7]}...{head[:7]}",
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "base_commit": self.commit(git.commit(base)),
            "merge_base_commit": self.commit(git.commit(parted)),
            "status": kind,
            "ahead_by": len(ahead),
            "behind_by": len(behind),
            "total_commits": len(ahead),
            "commits": [self.commit(info) for info in ahead],
            "files": [self.file(file, head) for file in git.changes(parted, head)],
        }

    def content(self, entry: Entry, ref: str, *, text: str | None = None) -> Json:
        """What is at a path: with its text a file by itself, without it as a folder lists it."""
        path = quote(entry.path)
        url = f"{self.repo_url}/contents/{path}?ref={quote(ref)}"
        folder = entry.kind == "tree"
        git_url = f"{self.repo_url}/git/{'trees' if folder else 'blobs'}/{entry.sha}"
        page = f"{self.repo_page}/{'tree' if folder else 'blob'}/{quote(ref)}/{path}"
        told: Json = {
            "name": entry.path.rsplit("/", 1)[-1],
            "path": entry.path,
            "sha": entry.sha,
            "size": entry.size,
            "url": url,
            "html_url": page,
            "git_url": git_url,
            "download_url": None if folder else f"{self.repo_page}/raw/{quote(ref)}/{path}",
            "type": "dir" if folder else "file",
            "_links": {"self": url, "git": git_url, "html": page},
        }
        return told if text is None else {**told, "content": text, "encoding": "base64"}

    # ------------------------------------------------------------ statuses and checks

    def status_simple(self, status: Status) -> Json:
        """A status as the combined answer has it: without who set it."""
        return {
            "url": f"{self.repo_url}/statuses/{status.sha}",
            "avatar_url": f"{self.places.site}/avatars/u/{self.state.account(status.login).id}?v=4",
            "id": status.id,
            "node_id": node("SC", status.id),
            "state": status.state,
            "description": status.description,
            "target_url": status.target_url,
            "context": status.context,
            "created_at": stamp(status.at),
            "updated_at": stamp(status.at),
        }

    def status(self, status: Status) -> Json:
        """A status with who set it."""
        return {**self.status_simple(status), "creator": self.user(status.login)}

    def combined(self, sha: str) -> Json:
        """The last status of every context, and what they come to. Nothing said yet is pending."""
        latest = list(self.state.latest_statuses(sha).values())
        states = {status.state for status in latest}
        failed = states & {"failure", "error"}
        total = "failure" if failed else "success" if states == {"success"} else "pending"
        url = f"{self.repo_url}/commits/{sha}"
        return {
            "state": total,
            "statuses": [self.status_simple(status) for status in latest],
            "sha": sha,
            "total_count": len(latest),
            "repository": self.repository(),
            "commit_url": url,
            "url": f"{url}/status",
        }

    def check_run(self, run: CheckRun) -> Json:
        """A check run."""
        url = f"{self.repo_url}/check-runs/{run.id}"
        return {
            "id": run.id,
            "node_id": node("CR", run.id),
            "name": run.name,
            "head_sha": run.sha,
            "external_id": "",
            "url": url,
            "html_url": f"{self.repo_page}/runs/{run.id}",
            "details_url": f"{self.repo_page}/runs/{run.id}",
            "status": "completed" if run.conclusion else "in_progress",
            "conclusion": run.conclusion or None,
            "started_at": stamp(run.at),
            "completed_at": stamp(run.at) if run.conclusion else None,
            "output": {
                "title": None,
                "summary": None,
                "text": None,
                "annotations_count": 0,
                "annotations_url": f"{url}/annotations",
            },
            "check_suite": {"id": run.id},
            "app": None,
            "pull_requests": [],
        }


def _ident(ident: Ident) -> Json:
    """GitHub tells moments in UTC."""
    return {"name": ident.name, "email": ident.email, "date": stamp(when(ident.at))}
