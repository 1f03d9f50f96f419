"""GitHub's JSON of people, organizations and teams, and what all of its JSON shares: places and node ids."""

import base64
from dataclasses import dataclass

from bot.sandbox.github_model import Account, Json, Team, stamp
from bot.sandbox.github_state import State

_USER_LINKS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}


def node(kind: str, number: int | str) -> str:
    """An opaque node id."""
    return base64.urlsafe_b64encode(f"{kind}{number}".encode()).decode().rstrip("=")


@dataclass(frozen=True)
class Places:
    """Where the API and the pages are, as the client asked for them: no slash at the end."""

    api: str
    site: str


class PeopleRender:
    """JSON for one client: links lead to where the client asked."""

    def __init__(self, state: State, places: Places) -> None:
        self.state, self.places = state, places
        self.repo_url = f"{places.api}/repos/{state.repository}"
        self.repo_page = f"{places.site}/{state.repository}"

    # ------------------------------------------------------------ people

    def user(self, login: str) -> Json:
        """The short form, as it stands inside everything else."""
        return self.account(self.state.account(login))

    def account(self, account: Account) -> Json:
        """The short form of an account."""
        url = f"{self.places.api}/users/{account.login}"
        return {
            "login": account.login,
            "id": account.id,
            "node_id": node("U", account.id),
            "avatar_url": f"{self.places.site}/avatars/u/{account.id}?v=4",
            "gravatar_id": "",
            "url": url,
            "html_url": f"{self.places.site}/{account.login}",
            **{key: url + path for key, path in _USER_LINKS.items()},
            "type": account.kind.value,
            "user_view_type": "public",
            "site_admin": False,
        }

    def profile(self, account: Account) -> Json:
        """The long form, as anybody may see it."""
        moment = stamp(self.state.created)
        return {
            **self.account(account),
            "name": account.name or None,
            "company": None,
            "blog": "",
            "location": None,
            "email": account.email or None,
            "hireable": None,
            "bio": None,
            "twitter_username": None,
            "public_repos": 0,
            "public_gists": 0,
            "followers": 0,
            "following": 0,
            "created_at": moment,
            "updated_at": moment,
        }

    def organization(self) -> Json:
        """The owner, as webhooks carry it."""
        owner = self.state.account(self.state.owner)
        url = f"{self.places.api}/orgs/{owner.login}"
        return {
            "login": owner.login,
            "id": owner.id,
            "node_id": node("O", owner.id),
            "url": url,
            "repos_url": f"{url}/repos",
            "events_url": f"{url}/events",
            "hooks_url": f"{url}/hooks",
            "issues_url": f"{url}/issues",
            "members_url": f"{url}/members{{/member}}",
            "public_members_url": f"{url}/public_members{{/member}}",
            "avatar_url": f"{self.places.site}/avatars/u/{owner.id}?v=4",
            "description": None,
        }

    def full_organization(self) -> Json:
        """The owner, as its own page of the API tells it."""
        profile = self.profile(self.state.account(self.state.owner))
        kept = ("html_url", "type", "public_repos", "public_gists", "followers", "following")
        return {
            **self.organization(),
            **{key: profile[key] for key in (*kept, "created_at", "updated_at")},
            "has_organization_projects": True,
            "has_repository_projects": True,
            "archived_at": None,
        }

    def team(self, team: Team) -> Json:
        """A team, as it stands among the reviewers that are asked."""
        owner = self.state.account(team.organization)
        url = f"{self.places.api}/organizations/{owner.id}/team/{team.id}"
        return {
            "name": team.slug,
            "id": team.id,
            "node_id": node("T", team.id),
            "slug": team.slug,
            "description": None,
            "privacy": "closed",
            "notification_setting": "notifications_enabled",
            "type": "organization",
            "organization_id": owner.id,
            "url": url,
            "html_url": f"{self.places.site}/orgs/{team.organization}/teams/{team.slug}",
            "members_url": f"{url}/members{{/member}}",
            "repositories_url": f"{url}/repos",
            "permission": "push",
            "parent": None,
        }
