"""From view models to pages: Jinja with escaping on, no script, no style but our own file, and headers that say so."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.responses import Response

from bot.web.pages import words

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
}
_FOLDER = files("bot.web") / "templates"


@dataclass(frozen=True)
class Reader:
    """Whom a page is made for, and when. `team_id` and `user_id` are empty where nobody is signed in."""

    now: datetime
    name_of: words.NameOf
    user_id: str = ""


class Pages:
    """Renders templates. `root` is the path below which the pages are served, without a slash at its end."""

    def __init__(self, root: str = "") -> None:
        sources = {one.name: one.read_text("utf-8") for one in _FOLDER.iterdir() if one.name.endswith(".html")}
        self.style = (_FOLDER / "pages.css").read_bytes()
        self.icon = (_FOLDER / "icon.svg").read_bytes()
        version = hashlib.sha256(self.style).hexdigest()[:12]
        self._jinja = Environment(
            loader=DictLoader(sources),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            finalize=_seen,
        )
        self._jinja.globals.update(root=root, style=f"{root}/pages.css?{version}")
        self._jinja.filters.update(
            told=_told, person=_person, since=_since, clock=words.clock, spent=words.length, address=words.address
        )

    def page(self, name: str, reader: Reader, values: Mapping[str, object], status: int = 200) -> Response:
        """A page that nobody keeps a copy of."""
        text = self._jinja.get_template(f"{name}.html").render(**values, reader=reader)
        return Response(text, status, HEADERS | {"Cache-Control": "no-store"}, media_type="text/html")


def _seen(value: object) -> object:
    """Every value that a template prints: without what cannot be seen; Jinja escapes it afterwards."""
    return words.shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _reader(context: Context) -> Reader:
    found = context["reader"]
    assert isinstance(found, Reader)  # noqa: S101 - `page` puts it there
    return found


@pass_context
def _told(context: Context, text: str) -> Markup:
    return words.told(text, _reader(context).name_of)


@pass_context
def _person(context: Context, actor: str) -> Markup:
    return words.person(actor, _reader(context).name_of)


@pass_context
def _since(context: Context, at: datetime) -> Markup:
    return words.since(at, _reader(context).now)
