"""The Older button's value: a page's filters, out to Slack and back. Pure."""

import json
from dataclasses import asdict, fields, replace

from commands.requests import History

_MOST = {"app": 63, "environment": 63, "actor": 128, "deployment_id": 32, "version": 128, "action": 64, "words": 300}
_USUAL = 40
_VALUE = 2000  # characters that Slack takes
_NAMES = tuple(one.name for one in fields(History) if one.name != "before")


def older_value(page: History) -> str:
    """What the button carries: the filters that are set, each cut to more than any row could match."""
    held = {key: value for key, value in asdict(_cut(page)).items() if value}
    value = json.dumps(held, ensure_ascii=False, separators=(",", ":"))
    # Quotes and backslashes double: words that are nothing else find nothing that has a next page.
    return value if len(value) <= _VALUE else json.dumps({"before": page.before})


def older_page(value: str) -> History:
    """The page that a button asks for: ours, but it comes back over the network, so it is read with care."""
    try:
        stored = json.loads(value)
        found = History(before=int(stored["before"]), **{name: str(stored.get(name, "")) for name in _NAMES})
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return History()
    return _cut(found)


def _cut(page: History) -> History:
    return replace(page, **{name: getattr(page, name)[: _MOST.get(name, _USUAL)] for name in _NAMES})
