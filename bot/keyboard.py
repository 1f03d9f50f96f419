"""Who is at the command line, as the record names them."""

import getpass

SOMEBODY = "cli:unknown"


def who() -> str:
    """`cli:` and the user's name on this machine: no Slack user can have that."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):  # a container may run as a number that nobody gave a name
        return SOMEBODY
