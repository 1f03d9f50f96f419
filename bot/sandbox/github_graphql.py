"""The little of GitHub's GraphQL that tells what REST keeps from those who are no administrators: `refUpdateRule`.

Queries are one operation of nested fields; arguments are variables. Fragments, directives, lists and mutations are not
understood and answered as a mistake, with 200, as GraphQL does.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from bot.sandbox.github_http import Answer, Call, Route
from bot.sandbox.github_model import Json, Role, RuleSource, not_found
from bot.sandbox.github_state import State

_TOKEN = re.compile(r"\s*(?:#[^\n]*\n\s*)*([A-Za-z_]\w*|\$[A-Za-z_]\w*|[(){}:,!])[\s,]*")


class _MistakeError(Exception):
    """What the answer's `errors` say."""


@dataclass
class _Field:
    """A field, the variables of its arguments, and what is asked of it."""

    name: str
    arguments: dict[str, str] = field(default_factory=dict)
    fields: "list[_Field]" = field(default_factory=list)


class GraphQl:
    """One call, on both addresses: `/graphql`, and `/api/graphql` beside `/api/v3`."""

    def __init__(self, state: State) -> None:
        self.state = state

    def routes(self) -> tuple[Route, ...]:
        """The calls."""
        return tuple(Route("POST", path, self._answer) for path in ("/graphql", "/api/graphql"))

    def _answer(self, call: Call) -> Answer:
        if not self.state.settings.graphql:
            raise not_found()
        try:
            query = _parse(str(call.body.get("query", "")))
            return Answer({"data": {one.name: self._repository(one, call) for one in query}})
        except _MistakeError as mistake:
            return Answer({"data": None, "errors": [{"message": str(mistake)}]})

    def _repository(self, asked: _Field, call: Call) -> Json | None:
        if asked.name != "repository":
            raise _unknown(asked.name, "Query")
        given = call.body.get("variables") or {}
        owner, name = (str(given.get(asked.arguments.get(key, ""), "")) for key in ("owner", "name"))
        if f"{owner}/{name}".lower() != self.state.repository.lower() or call.viewer.role < Role.READ:
            raise _MistakeError(f"Could not resolve to a Repository with the name '{owner}/{name}'.")
        told: Json = {}
        for inner in asked.fields:
            if inner.name != "ref":
                raise _unknown(inner.name, "Repository")
            ref = str(given.get(inner.arguments.get("qualifiedName", ""), ""))
            told["ref"] = self._ref(ref, inner, call) if ref in self.state.git.refs("refs/heads") else None
        return told

    def _ref(self, ref: str, asked: _Field, call: Call) -> Json:
        rules = self.state.rules.get(ref.removeprefix("refs/heads/"))
        told: Json = {}
        for inner in asked.fields:
            if inner.name == "name":
                told["name"] = ref.removeprefix("refs/heads/")
            elif inner.name != "refUpdateRule":
                raise _unknown(inner.name, "Ref")
            elif rules is None or rules.source is not RuleSource.PROTECTION:
                told["refUpdateRule"] = None
            else:
                reviewed = bool(rules.reviews or rules.code_owners)
                known: Json = {
                    "allowsDeletions": False,
                    "allowsForcePushes": False,
                    "blocksCreations": False,
                    "pattern": ref.removeprefix("refs/heads/"),
                    "requiredApprovingReviewCount": rules.reviews if reviewed else None,
                    "requiredStatusCheckContexts": list(rules.checks) or None,
                    "requiresCodeOwnerReviews": rules.code_owners,
                    "requiresConversationResolution": False,
                    "requiresLinearHistory": False,
                    "requiresSignatures": False,
                    "viewerAllowedToDismissReviews": call.viewer.role >= Role.WRITE,
                    "viewerCanPush": call.viewer.login in rules.bypass
                    or (not rules.enforce_admins and call.viewer.role >= Role.ADMIN),
                }
                told["refUpdateRule"] = {one.name: _one(known, one.name) for one in inner.fields}
        return told


def _one(known: Json, name: str) -> object:
    if name not in known:
        raise _unknown(name, "RefUpdateRule")
    return known[name]


def _unknown(name: str, kind: str) -> _MistakeError:
    return _MistakeError(f"Field '{name}' doesn't exist on type '{kind}'")


def _parse(text: str) -> list[_Field]:
    """The fields of the one operation."""
    words = _words(text)
    try:
        for word in words:
            if word == "{":
                return _fields(words)
    except StopIteration:
        raise _MistakeError("Expected NAME, actual: (none)") from None
    raise _MistakeError("Unexpected end of document")


def _words(text: str) -> Iterator[str]:
    place = 0
    while place < len(text.rstrip()):
        found = _TOKEN.match(text, place)
        if found is None:
            raise _MistakeError(f"Expected NAME, actual: UNKNOWN_CHAR ({text[place : place + 10]!r})")
        place = found.end()
        yield found[1]


def _fields(words: Iterator[str]) -> list[_Field]:
    """Fields up to the brace that closes them."""
    found: list[_Field] = []
    while (word := next(words)) != "}":
        if word == "(":
            found[-1].arguments = _arguments(words)
        elif word == "{":
            found[-1].fields = _fields(words)
        else:
            found.append(_Field(word))
    return found


def _arguments(words: Iterator[str]) -> dict[str, str]:
    """Arguments up to the bracket that closes them, by the variable each one gets."""
    found: dict[str, str] = {}
    while (name := next(words)) != ")":
        colon, value = next(words), next(words)
        if colon != ":" or not value.startswith("$"):
            raise _MistakeError("Only variables are understood as arguments here")
        found[name] = value.removeprefix("$")
    return found
