"""The baseline of the ack benchmark: a bare Bolt AsyncApp that says hello, served the same way as the bot."""

import sys

import uvicorn
from fastapi import FastAPI, Request, Response
from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncBoltRequest
from slack_bolt.authorization import AuthorizeResult


def main() -> None:
    """Serve on the port and with the signing secret that are given as arguments."""
    port, secret = int(sys.argv[1]), sys.argv[2]

    async def authorize(**_: object) -> AuthorizeResult:
        return AuthorizeResult(enterprise_id=None, team_id="T0", bot_token="xoxb-test", bot_id="B0", bot_user_id="U0")

    bolt = AsyncApp(signing_secret=secret, authorize=authorize, process_before_response=True)

    @bolt.command("/deploy")
    async def hello(ack: AsyncAck) -> None:
        await ack("hello")

    app = FastAPI()

    @app.post("/slack/events")
    async def events(request: Request) -> Response:
        asked = AsyncBoltRequest(body=(await request.body()).decode(), headers=dict(request.headers))
        answered = await bolt.async_dispatch(asked)
        return Response(answered.body, answered.status, {key: value[0] for key, value in answered.headers.items()})

    uvicorn.run(app, host="127.0.0.1", port=port, log_config=None, access_log=False)


if __name__ == "__main__":
    main()
