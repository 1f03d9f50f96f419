"""The Slack app's manifest, for Socket Mode or HTTP.

https://docs.slack.dev/reference/app-manifest
"""

from io import StringIO
from typing import Any

from ruamel.yaml import YAML

SCOPES = (
    "app_mentions:read",
    "channels:history",  # to find a card that was posted in the instant of a crash, instead of posting it twice
    "channels:read",
    "chat:write",
    "chat:write.public",
    "commands",
    "files:write",
    "groups:history",  # the same, where cards go to a private channel
    "groups:read",
    "usergroups:read",
    "users:read",
    "users:read.email",
)
EVENTS = ("app_home_opened", "app_mention")
COMMANDS = (
    (
        "/deploy",
        "Deploy an app; see what runs, waits and why; approve, lock, freeze, cancel",
        "my-application 1.4.2 staging --reason why | status | queue | why APP | approve ID | lock APP | help",
        False,
    ),
    (
        "/promote",
        "Bring what runs in one environment to the next, as one change with one approval",
        "my-application staging production --reason why | all FROM TO | help",
        False,
    ),
    (
        "/rollback",
        "Go back to the last version that was healthy, or to one that you name",
        "my-application production to 1.4.1 --reason why | help",
        False,
    ),
    ("/audit", "Search the record of who deployed what, when and why", "history app:my-application by:me", True),
)
LONG = (
    "Locktender deploys from Slack by GitOps. A command becomes a commit or a pull request on your infra-repo, a "
    "Jenkins run and a watched Kubernetes rollout, told on one card that is updated until the version is live, or says "
    "why it is not and what to do. Production is approved in Slack or on GitHub, by people who neither asked for the "
    "change nor wrote it, and /rollback brings the last healthy version back. Every request, refusal, approval, "
    "commit, build and ending is recorded, and found with /audit history."
)


def for_socket_mode() -> str:
    """YAML: nothing has to be reachable from the internet."""
    return _yaml(_manifest(""))


def for_http(base: str) -> str:
    """YAML: Slack sends to `<base>/slack/events`."""
    return _yaml(_manifest(f"{base.rstrip('/')}/slack/events"))


def _manifest(url: str) -> dict[str, Any]:
    commands = []
    for name, description, hint, escape in COMMANDS:
        command = {"command": name, "description": description, "usage_hint": hint, "should_escape": escape}
        commands.append(command | ({"url": url} if url else {}))
    request_url = {"request_url": url} if url else {}
    return {
        "display_information": {
            "name": "Locktender",
            "description": "Deploys by GitOps, approvals and an audit record",
            "long_description": LONG,
            "background_color": "#1f3a4d",
        },
        "features": {
            # Files and verdicts come as direct messages, to a tab where nothing can be typed: commands are for that.
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": True,
            },
            "bot_user": {"display_name": "locktender", "always_online": True},
            "slash_commands": commands,
        },
        "oauth_config": {"scopes": {"bot": list(SCOPES)}},
        "settings": {
            "event_subscriptions": request_url | {"bot_events": list(EVENTS)},
            "interactivity": {"is_enabled": True} | request_url,
            "org_deploy_enabled": False,
            "socket_mode_enabled": not url,
            "token_rotation_enabled": False,
        },
    }


def _yaml(value: dict[str, Any]) -> str:
    writer = YAML()
    writer.width = 100
    writer.indent(mapping=2, sequence=4, offset=2)
    out = StringIO()
    writer.dump(value, out)
    return out.getvalue()
