"""What opens a door is not kept: texts that are certainly credentials are taken out before anything is recorded. Pure.

People paste tokens into reasons, and pipelines into notes; the record can never be edited, so they must not reach it.
"""

import re
from collections.abc import Mapping

CERTAIN = (
    r"xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]+|xapp-[A-Za-z0-9-]+"
    r"|gh[pousr]_[A-Za-z0-9]+|github_pat_[A-Za-z0-9_]+|glpat-[A-Za-z0-9_-]+"
    r"|lt_[A-Za-z0-9_-]{43}"  # our own, of the JSON API
    r"|(?<=://)[^/\s@]+(?=@)"  # whoever stands before the host of an address: user and password, or a token alone
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"
    r"|(?s:-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$))"
    r"|https://hooks\.slack(?:-gov)?\.com/\S+"
)
"""What no honest text looks like. The log takes out more, where a word too many does no harm (bot.logs)."""
GONE = "[redacted]"
_CERTAIN = re.compile(CERTAIN)
_HINTS = (
    "xox", "xapp-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "lt_", "://", "eyJ", "PRIVATE KEY",
)  # fmt: skip
"""One of them is in every credential. Every ack waits for this, and to look for plain words takes a tenth."""


def may_hold_secret(text: str) -> bool:
    """True when something in it, or in the JSON that it is, may be a credential."""
    return any(hint in text for hint in _HINTS)


def without_secrets(value: object) -> object:
    """The same value, however it is nested, with every credential in its texts replaced."""
    if isinstance(value, str):
        return _CERTAIN.sub(GONE, value) if may_hold_secret(value) else value
    if isinstance(value, dict | Mapping):
        return {str(without_secrets(key)): without_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return value
