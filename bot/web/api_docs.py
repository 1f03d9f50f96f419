"""The API's description as one page that needs no script, no network and no build. Pure."""

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
STYLE = """\
:root { color-scheme: light dark; --line: #8886; --quiet: #666; }
@media (prefers-color-scheme: dark) { :root { --quiet: #aaa; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
code, pre { font: 14px/1.5 ui-monospace, monospace; }
pre { border: 1px solid var(--line); border-radius: 6px; padding: .75rem; overflow-x: auto; }
section { border-top: 1px solid var(--line); margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); }
h2 code { font-size: inherit; }
.quiet { color: var(--quiet); }
"""
_RECORD = """\
curl -X POST https://locktender.example.com/api/v1/records \\
  -H "Authorization: Bearer $LOCKTENDER_TOKEN" \\
  -d @deployment-record.json"""

_HOW = (
    '<p>For programs: <a href="openapi.json">openapi.json</a>. Every request but this page carries '
    "<code>Authorization: Bearer lt_…</code>; <code>locktender token create NAME --scope records</code> prints such a "
    "token once.</p>"
)


def page(openapi: Mapping[str, Any]) -> str:
    """The page for an OpenAPI document of ours."""
    info = openapi["info"]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f'<title>{escape(info["title"])} API</title><link rel="stylesheet" href="docs.css"></head><body><main>',
        f"<h1>{escape(info['title'])} API</h1><p>{escape(info['description'])}</p>",
        _HOW,
        f"<pre>{escape(_RECORD)}</pre>",
    ]
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            parts += _operation(f"/api{path}", method.upper(), operation)
    return "\n".join([*parts, "</main></body></html>"])


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"<section><h2><code>{method} {escape(path)}</code></h2>"
    yield f"<p><strong>{_words(operation['summary'])}.</strong> {_words(operation.get('description', ''))}</p>"
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        wanted = set(body.get("required", ()))
        rows = [_row(name, one, needed=name in wanted) for name, one in body["properties"].items()]
        yield from _table("The body", rows)
    if operation.get("parameters"):
        rows = [_row(one["name"], one, needed=bool(one.get("required"))) for one in operation["parameters"]]
        yield from _table("Parameters", rows)
    answers = operation["responses"].items()
    yield from _table("Answers", [(str(code), str(one["description"]), "") for code, one in sorted(answers)])
    yield "</section>"


def _row(name: str, one: Mapping[str, Any], *, needed: bool) -> tuple[str, str, str]:
    schema = one.get("schema", one)
    kinds = [schema, *schema.get("anyOf", ())]
    example = next((str(kind["examples"][0]) for kind in kinds if kind.get("examples")), "")
    said = str(one.get("description", ""))
    return name, f"{said}{'' if needed else ' Optional.'}".strip(), example


def _table(title: str, rows: list[tuple[str, str, str]]) -> Iterator[str]:
    yield f"<h3>{title}</h3><table><tbody>"
    for name, said, example in rows:
        shown = f'<br><span class="quiet">as in <code>{escape(example)}</code></span>' if example else ""
        yield f'<tr><th scope="row"><code>{escape(name)}</code></th><td>{_words(said)}{shown}</td></tr>'
    yield "</tbody></table>"


def _words(text: str) -> str:
    """Our own sentences; what they have in backticks is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))
