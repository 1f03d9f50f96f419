"""Reads what shows that an app is well after its rollout: an address that answers, and time without a restart."""

from datetime import timedelta

from commands import catalogue_grammar as shapes
from commands.catalogue_parts import NO_VERIFICATION, Verify, span
from commands.catalogue_values import Value

_SETTINGS = ("url", "status", "soak", "timeout")
_LONGEST_LOOK = timedelta(hours=24)
"""A deployment keeps its place while it is looked at: the next one of the same app waits as long."""


def read_verify(value: Value) -> Verify | None:
    """`{url: https://…, status: 200, soak: 2m, timeout: 2m}`, of which at least `url` or `soak` is there."""
    section = value.section(_SETTINGS)
    if not section.values and (value.is_mapping or value.is_empty):
        value.fault("says nothing to verify", "write `url: https://web.example.com/healthz`, `soak: 2m`, or both")
    for key in ("status", "timeout"):
        alone = section.get(key)
        if alone and section.get("url") is None:
            alone.fault("belongs to an address", "write `url` too, as in `url: https://web.example.com/healthz`")
    return Verify(
        url=section.read("url", shapes.health_url) or "",
        status=section.read("status", lambda setting: setting.number(200, 599)),
        soak=section.read("soak", lambda setting: _span(setting, "2m")) or timedelta(0),
        timeout=section.read("timeout", lambda setting: _span(setting, "2m")) or Verify().timeout,
    )


def read_app_verify(value: Value) -> Verify | None:
    """An app's own, or `none` where the environment's does not fit."""
    return NO_VERIFICATION if value.is_word("none") else read_verify(value)


def _span(value: Value, example: str) -> timedelta | None:
    length = value.duration(example)
    if length is None or length <= _LONGEST_LOOK:
        return length
    value.fault(f"{span(length)} would keep the next deployment waiting as long", "write at most `24h`")
    return None
