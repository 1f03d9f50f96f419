"""The Web API of the stand-in: who may call what, how often, and how Slack says no."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bot.sandbox import slack_chat as chat
from bot.sandbox import slack_people as people
from bot.sandbox import slack_views as views
from bot.sandbox.slack_limits import Limiter
from bot.sandbox.slack_model import ApiCall, Json
from bot.sandbox.slack_state import SlackError, State
from bot.sandbox.slack_wire import Args, arguments

Handler = Callable[[State, Args], Json]
POSTING = None
"""The tier of chat.postMessage: about one a second and channel."""


@dataclass(frozen=True)
class Method:
    """A Web API method: its handler, the scope it needs (`""`: any token), and its rate tier."""

    handle: Handler
    scope: str
    tier: int | None


def _auth_test(state: State, args: Args) -> Json:
    del args
    app = state.world.app
    return {
        "url": f"https://{state.world.team_domain}.slack.com/",
        "team": state.world.team_domain,
        "team_id": state.world.team_id,
        "user": app.bot_name,
        "user_id": app.bot_user_id,
        "bot_id": app.bot_id,
        "is_enterprise_install": False,
    }


METHODS: dict[str, Method] = {
    "auth.test": Method(_auth_test, "", 4),
    "chat.postMessage": Method(chat.post_message, "chat:write", POSTING),
    "chat.update": Method(chat.update, "chat:write", 3),
    "chat.delete": Method(chat.delete, "chat:write", 3),
    "chat.postEphemeral": Method(chat.post_ephemeral, "chat:write", 4),
    "chat.getPermalink": Method(chat.permalink, "", 4),
    "reactions.add": Method(chat.react, "reactions:write", 3),
    "conversations.history": Method(people.history, "", 3),  # the scope depends on the kind of channel
    "conversations.replies": Method(people.replies, "", 3),
    "conversations.info": Method(people.info, "", 3),
    "conversations.list": Method(people.channels, "", 2),
    "conversations.join": Method(people.join, "channels:join", 3),
    "users.info": Method(people.user, "users:read", 4),
    "users.list": Method(people.users, "users:read", 2),
    "users.lookupByEmail": Method(people.user_by_email, "users:read.email", 3),
    "usergroups.list": Method(people.groups, "usergroups:read", 2),
    "usergroups.users.list": Method(people.group_users, "usergroups:read", 2),
    "views.open": Method(views.open_view, "", 4),
    "views.push": Method(views.push_view, "", 4),
    "views.update": Method(views.update_view, "", 4),
    "views.publish": Method(views.publish_view, "", 4),
    "files.getUploadURLExternal": Method(views.upload_url, "files:write", 4),
    "files.completeUploadExternal": Method(views.complete_upload, "files:write", 4),
}


@dataclass
class WebApi:
    """Answers `/api/{method}`, `/actions/{hook}` (response_url) and `/upload/{file}`."""

    state: State
    limiter: Limiter
    open_connection: Callable[[], str]  # a fresh, single-use Socket Mode URL

    def routes(self) -> list[Route]:
        """What to mount at the root."""
        return [
            Route("/api/{method}", self._call, methods=["GET", "POST"]),
            Route("/actions/{hook}", self._respond, methods=["POST"]),
            Route("/upload/{file}", self._upload, methods=["POST"]),
        ]

    async def _call(self, request: Request) -> Response:
        name = request.path_params["method"]
        channel = ""
        try:
            args = await arguments(request)
            channel = args.text("channel")
            app_call = name == "apps.connections.open"
            method = None if app_call or name == "api.test" else self._method(name, _token(request, args))
            if app_call:
                self._app_token(_token(request, args))
            tier = 1 if app_call else method.tier if method else 4
            wait = self.limiter.wait(name, tier, channel)
            if wait:
                self._note(name, "ratelimited", channel)
                return JSONResponse({"ok": False, "error": "ratelimited"}, 429, headers={"Retry-After": str(wait)})
            if app_call:
                answer: Json = {"url": self.open_connection()}
            elif method is None:
                answer = _api_test(args)
            else:
                answer = await run_in_threadpool(method.handle, self.state, args)
        except SlackError as refused:
            self._note(name, refused.error, channel)
            return JSONResponse({"ok": False, "error": refused.error, **refused.extra})
        self._note(name, "", channel)
        scopes = ",".join(sorted(self.state.world.app.bot_scopes))
        return JSONResponse({"ok": True, **answer}, headers={"x-oauth-scopes": scopes})

    def _note(self, method: str, error: str, channel: str) -> None:
        with self.state.changed:
            self.state.calls.append(ApiCall(method, error, channel))
            self.state.changed.notify_all()

    def _method(self, name: str, token: str) -> Method:
        method = METHODS.get(name)
        if method is None:
            raise SlackError("unknown_method", req_method=name)
        app = self.state.world.app
        if not token:
            raise SlackError("not_authed")
        if token == app.app_token:
            raise SlackError("not_allowed_token_type")
        if token != app.bot_token:
            raise SlackError("invalid_auth")
        if app.deactivated:
            raise SlackError("account_inactive")
        if method.scope and method.scope not in app.bot_scopes:
            raise SlackError("missing_scope", needed=method.scope, provided=",".join(sorted(app.bot_scopes)))
        return method

    def _app_token(self, token: str) -> None:
        app = self.state.world.app
        if not token:
            raise SlackError("not_authed")
        if token == app.bot_token:
            raise SlackError("not_allowed_token_type")
        if token != app.app_token:
            raise SlackError("invalid_auth")
        if app.deactivated:
            raise SlackError("account_inactive")
        if "connections:write" not in app.app_scopes:
            raise SlackError("missing_scope", needed="connections:write", provided=",".join(sorted(app.app_scopes)))

    async def _respond(self, request: Request) -> Response:
        try:
            await run_in_threadpool(chat.respond, self.state, request.path_params["hook"], await arguments(request))
        except SlackError as refused:
            status = 404 if refused.error in {"used_url", "expired_url", "invalid_url"} else 400
            return JSONResponse({"ok": False, "error": refused.error, **refused.extra}, status)
        return PlainTextResponse("ok")

    async def _upload(self, request: Request) -> Response:
        content = await request.body()
        status = views.receive(self.state, request.path_params["file"], content)
        return PlainTextResponse(f"OK - {len(content)}" if status == 200 else "upload failed", status)


def _token(request: Request, args: Args) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else args.text("token")


def _api_test(args: Args) -> Json:
    echoed = {name: value for name, value in args.given.items() if name != "token"}
    if args.text("error"):
        raise SlackError(args.text("error"), args=echoed)
    return {"args": echoed}
