"""The Socket Mode connection against the stand-in: every way a network fails, and that commands work again after it.

Real websockets on loopback, with intervals shortened some forty times; `test_recovery_is_bounded_by_construction` holds
the real ones to their bound, and LOCKTENDER_REAL_CLOCK=1 also runs a long outage with them. Left out: Bolt
(test_socket_mode_bolt.py), and what listeners do with what arrives.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from bot.sandbox.server import Fault, Misbehaviour
from bot.sandbox.slack import Cut, SlackServer
from bot.sandbox.slack_limits import UNLIMITED, Rates
from bot.sandbox.slack_model import DEVELOPER, CommandResult, Timing, Trouble
from bot.slack.socket import Ack, Envelope, Intervals, SocketConnection

QUICK = Intervals(
    ping=0.05,
    silence=0.25,
    opening=0.5,
    backoff_first=0.02,
    backoff_most=0.1,
    steady=0.3,
    fatal_retry=0.3,
    linger=0.3,
    close=0.1,
    ack_patience=2.0,
)


class Bot:
    """A dispatcher that answers with what it was asked, and counts."""

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def __call__(self, envelope: Envelope) -> Ack | None:
        text = str(envelope.payload.get("text"))
        self.handled.append(text)
        await self.hold.wait()
        return None if text == "unanswered" else Ack({"text": f"did {text}"})


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    with SlackServer(timing=Timing(ack=0.6, event_retries=(0.0, 0.1, 0.2)), rates=UNLIMITED) as server:
        yield server


@pytest.fixture
async def bot() -> Bot:
    return Bot()


@pytest.fixture
async def connection(slack: SlackServer, bot: Bot) -> AsyncIterator[SocketConnection]:
    made = SocketConnection(slack.app.app_token, slack.api_url, bot, intervals=QUICK)
    made.start()
    assert await made.connected(2)
    yield made
    await made.stop(drain=0)


async def ask(slack: SlackServer, text: str = "web 1.4.2") -> CommandResult:
    return await asyncio.to_thread(slack.workspace.command, DEVELOPER, "/deploy", text)


async def until(true_of: object, seconds: float = 2.0) -> None:
    assert callable(true_of)
    async with asyncio.timeout(seconds):
        while not true_of():  # noqa: ASYNC110 - what is waited for lives in another thread
            await asyncio.sleep(0.01)


async def answered_again(slack: SlackServer, connection: SocketConnection) -> float:
    """Seconds until a fresh connection is up and a command is answered on it."""
    started = time.monotonic()
    assert await connection.connected(2)
    result = await ask(slack, "after the trouble")
    assert result.text == "did after the trouble"
    return time.monotonic() - started


async def test_a_command_is_answered_through_its_ack(slack: SlackServer, connection: SocketConnection) -> None:
    result = await ask(slack)
    assert (result.acked, result.text) == (True, "did web 1.4.2")
    assert [one.text for one in slack.workspace.ephemerals(DEVELOPER)] == ["did web 1.4.2"]
    assert connection.state().reason == ""


async def test_a_hundred_commands_at_once_are_each_handled_once(
    slack: SlackServer, connection: SocketConnection, bot: Bot
) -> None:
    del connection
    results = await asyncio.gather(*(ask(slack, f"web 1.0.{number}") for number in range(100)))
    assert sorted(result.text for result in results) == sorted(f"did web 1.0.{number}" for number in range(100))
    assert len(bot.handled) == len(set(bot.handled)) == 100


async def test_after_a_network_cut_commands_work_again(
    slack: SlackServer, connection: SocketConnection, bot: Bot
) -> None:
    slack.cut()
    await until(lambda: not connection.state().connected)
    assert (await ask(slack, "lost")).trouble is Trouble.UNREACHABLE
    await asyncio.sleep(0.8)  # some forty attempts fail, as in minutes of real time
    assert "reached" in connection.state().reason
    slack.mend()
    assert await answered_again(slack, connection) < 1
    assert bot.handled == ["after the trouble"]


async def test_after_a_network_that_swallows_everything_commands_work_again(
    slack: SlackServer, connection: SocketConnection
) -> None:
    slack.cut(Cut.BLACKHOLE)
    await until(lambda: not connection.state().connected)
    await asyncio.sleep(0.8)  # attempts hang until they time out
    assert connection.state().reason == "Slack did not answer in time"
    slack.mend()
    assert await answered_again(slack, connection) < 1.2


async def test_a_connection_closed_by_slack_is_replaced(slack: SlackServer, connection: SocketConnection) -> None:
    await asyncio.to_thread(slack.close_connections)
    await until(lambda: connection.state().reconnects == 1)
    assert await answered_again(slack, connection) < 1
    assert slack.hub.connections == 1


async def test_a_connection_that_is_up_and_silent_is_replaced(slack: SlackServer, connection: SocketConnection) -> None:
    with capture_logs() as logged:
        slack.go_silent()
        await until(lambda: connection.state().reconnects == 1)
    lost = [line["reason"] for line in logged if line["event"] == "slack_socket_lost"]
    assert lost[0] == "the connection stopped answering pings"
    assert await answered_again(slack, connection) < 1


async def test_silence_shows_in_the_state_before_it_is_mended(slack: SlackServer, connection: SocketConnection) -> None:
    slack.cut(Cut.BLACKHOLE)
    await until(lambda: not connection.state().connected)
    heard = connection.state().last_heard_seconds
    assert heard is None or heard >= QUICK.silence


async def test_a_client_session_that_is_closed_under_it_is_replaced(
    slack: SlackServer, connection: SocketConnection
) -> None:
    assert connection._link is not None
    await connection._link.session.close()
    await until(lambda: connection.state().reconnects == 1)
    assert await answered_again(slack, connection) < 1


async def test_a_reader_that_dies_is_replaced(slack: SlackServer, connection: SocketConnection) -> None:
    assert connection._link is not None
    for task in connection._link._tasks:
        task.cancel()
    await until(lambda: connection.state().reconnects == 1)
    assert await answered_again(slack, connection) < 1


async def test_ten_rapid_closes_end_in_one_working_connection(slack: SlackServer, connection: SocketConnection) -> None:
    for number in range(1, 11):
        await asyncio.to_thread(slack.close_connections)
        await until(lambda number=number: slack.hub.connected_ever > number)
        assert await connection.connected(2)
    assert await answered_again(slack, connection) < 1
    await until(lambda: slack.hub.connections == 1)


async def test_closing_at_once_is_not_answered_by_a_busy_loop(slack: SlackServer) -> None:
    steady = replace(QUICK, backoff_first=0.1, backoff_most=0.4)
    made = SocketConnection(slack.app.app_token, slack.api_url, Bot(), intervals=steady)
    made.start()
    ends = time.monotonic() + 1
    while time.monotonic() < ends:
        await asyncio.to_thread(slack.close_connections)
        await asyncio.sleep(0.01)
    await made.stop()
    assert 2 <= slack.hub.connected_ever <= 12


async def test_an_ack_in_flight_during_a_refresh_arrives_once(
    slack: SlackServer, connection: SocketConnection, bot: Bot
) -> None:
    bot.hold.clear()
    asked = asyncio.create_task(ask(slack))
    await until(lambda: bot.handled)
    await asyncio.to_thread(slack.refresh, lead=0.4)
    assert connection.state().connected  # there was a new connection before the old one went
    bot.hold.set()
    assert (await asked).text == "did web 1.4.2"
    assert [(ack.connection, ack.late, ack.unknown) for ack in slack.hub.acks] == [(2, False, False)]
    assert bot.handled == ["web 1.4.2"]


async def test_no_command_is_lost_while_slack_refreshes_the_connection(
    slack: SlackServer, connection: SocketConnection, bot: Bot
) -> None:
    await asyncio.sleep(QUICK.steady)  # a connection that has lived is replaced without a pause
    refreshing = asyncio.create_task(asyncio.to_thread(slack.refresh, lead=0.3))
    results: list[CommandResult] = []
    while not refreshing.done():
        if slack.hub.connected_ever > 1:  # Slack sends nothing to a connection it has warned
            results.append(await ask(slack, f"web {len(results)}"))
        await asyncio.sleep(0.01)
    await refreshing
    assert results
    assert all(result.acked for result in results)
    assert len(bot.handled) == len(results)
    assert connection.state().connected


async def test_a_refresh_ends_with_one_connection_and_the_old_one_closed(
    slack: SlackServer, connection: SocketConnection
) -> None:
    await asyncio.to_thread(slack.refresh, lead=0.0)
    await until(lambda: connection.state().connected and slack.hub.connections == 1)
    assert await answered_again(slack, connection) < 1
    assert connection.state().reconnects == 1


async def test_the_old_connection_serves_until_the_new_one_is_up(
    slack: SlackServer, connection: SocketConnection
) -> None:
    slack.faults.add(Fault("POST", "connections.open", Misbehaviour.DELAY, seconds=0.2))
    refreshing = asyncio.create_task(asyncio.to_thread(slack.refresh, lead=0.5))
    was_connected = []
    while connection.state().reconnects == 0:
        was_connected.append(connection.state().connected)
        await asyncio.sleep(0.01)
    assert len(was_connected) > 5
    assert all(was_connected)
    await refreshing


async def test_an_ack_finds_the_new_connection_when_the_old_one_is_closed_too_early(
    slack: SlackServer, connection: SocketConnection, bot: Bot
) -> None:
    del connection
    bot.hold.clear()
    asked = asyncio.create_task(ask(slack))
    await until(lambda: bot.handled)
    slack.faults.add(Fault("POST", "connections.open", Misbehaviour.DELAY, seconds=0.2))
    await asyncio.to_thread(slack.refresh, lead=0.0)
    await asyncio.sleep(0.05)
    bot.hold.set()
    assert (await asked).text == "did web 1.4.2"
    assert [ack.connection for ack in slack.hub.acks] == [2]


async def test_a_connection_that_is_never_greeted_does_not_count(slack: SlackServer) -> None:
    slack.hub.greets = False
    made = SocketConnection(slack.app.app_token, slack.api_url, Bot(), intervals=QUICK)
    made.start()
    await until(lambda: made.state().reason == "Slack did not answer in time")
    assert not made.state().connected
    slack.hub.greets = True
    assert await answered_again(slack, made) < 1
    await made.stop()


async def test_an_ack_waits_for_the_network_to_come_back(
    slack: SlackServer, connection: SocketConnection, bot: Bot
) -> None:
    bot.hold.clear()
    asked = asyncio.create_task(ask(slack))
    await until(lambda: bot.handled)
    slack.cut()
    await until(lambda: not connection.state().connected)
    bot.hold.set()
    await asyncio.sleep(0.1)
    slack.mend()
    assert (await asked).text == "did web 1.4.2"
    assert bot.handled == ["web 1.4.2"]


async def test_a_slow_ack_times_out_for_the_person_and_is_not_delivered_again(
    slack: SlackServer, connection: SocketConnection, bot: Bot
) -> None:
    del connection
    bot.hold.clear()
    result = await ask(slack)
    assert result.trouble is Trouble.TIMEOUT
    bot.hold.set()
    await until(lambda: slack.hub.acks)
    assert slack.hub.acks[0].late
    assert bot.handled == ["web 1.4.2"]
    assert "operation_timeout" in slack.workspace.ephemerals(DEVELOPER)[-1].text


async def test_an_event_that_is_not_acked_comes_again_and_says_so(
    slack: SlackServer, connection: SocketConnection
) -> None:
    await connection.stop()
    seen: list[int | None] = []

    async def dispatch(envelope: Envelope) -> Ack | None:
        seen.append(envelope.retry_attempt)
        return Ack({"text": "ignored"}) if len(seen) == 2 else None

    made = SocketConnection(slack.app.app_token, slack.api_url, dispatch, intervals=QUICK)
    made.start()
    assert await made.connected(2)
    _, event_id = await asyncio.to_thread(slack.workspace.mention, DEVELOPER, "", "status")
    await until(lambda: len(slack.workspace.tries(event_id)) == 2)
    await made.stop()
    assert seen == [0, 1]
    assert slack.workspace.tries(event_id)[1].body is None  # events accept no payload: none was sent


async def test_a_dispatcher_that_raises_costs_one_ack_and_nothing_else(slack: SlackServer) -> None:
    async def dispatch(envelope: Envelope) -> Ack | None:
        if envelope.payload["text"] == "boom":
            raise ValueError("boom")
        return Ack({"text": "fine"})

    made = SocketConnection(slack.app.app_token, slack.api_url, dispatch, intervals=QUICK)
    made.start()
    assert await made.connected(2)
    with capture_logs() as logged:
        assert (await ask(slack, "boom")).trouble is Trouble.TIMEOUT
    assert [line["event"] for line in logged] == ["slack_dispatch_failed"]
    assert slack.app.app_token not in str(logged)
    assert (await ask(slack, "well")).text == "fine"
    await made.stop()


async def test_a_wrong_token_is_told_in_a_sentence_and_tried_slowly(slack: SlackServer) -> None:
    made = SocketConnection("xapp-1-wrong", slack.api_url, Bot(), intervals=QUICK)
    made.start()
    await until(lambda: made.state().fatal)
    assert "SLACK_APP_TOKEN" in made.state().reason
    assert "xapp-1-wrong" not in made.state().reason
    before = len(slack.workspace.calls("apps.connections.open"))
    await asyncio.sleep(0.2)
    assert len(slack.workspace.calls("apps.connections.open")) == before == 1
    await made.stop()


async def test_a_bot_token_in_place_of_the_app_token_is_told_apart(slack: SlackServer) -> None:
    made = SocketConnection(slack.app.bot_token, slack.api_url, Bot(), intervals=QUICK)
    made.start()
    await until(lambda: made.state().fatal)
    assert "not an app-level token" in made.state().reason
    await made.stop()


async def test_a_token_that_is_put_right_needs_no_restart(slack: SlackServer) -> None:
    slack.reinstall(replace(slack.app, deactivated=True))
    made = SocketConnection(slack.app.app_token, slack.api_url, Bot(), intervals=QUICK)
    made.start()
    await until(lambda: made.state().fatal)
    slack.reinstall(replace(slack.app, deactivated=False))
    assert await made.connected(2)
    assert not made.state().fatal
    assert await answered_again(slack, made) < 1
    await made.stop()


async def test_a_failing_web_api_is_tried_again(slack: SlackServer, connection: SocketConnection) -> None:
    spoilt = slack.faults.add(Fault("POST", "apps.connections.open", Misbehaviour.REFUSE, times=5, status=503))
    await asyncio.to_thread(slack.close_connections)
    await until(lambda: spoilt.hits == 5)
    assert await answered_again(slack, connection) < 1


async def test_a_rate_limit_is_waited_out() -> None:
    with SlackServer(rates=Rates(tiers=(60, 20, 50, 100))) as slack:
        limited = slack.faults.add(Fault("POST", "connections.open", Misbehaviour.RATE_LIMIT, seconds=1))
        made = SocketConnection(slack.app.app_token, slack.api_url, Bot(), intervals=QUICK)
        started = time.monotonic()
        made.start()
        assert await made.connected(3)
        assert limited.hits == 1
        assert time.monotonic() - started >= 1
        await made.stop()


async def test_socket_mode_switched_off_is_told_in_a_sentence(slack: SlackServer, connection: SocketConnection) -> None:
    seen: list[str] = []
    slack.faults.before = lambda _method, _path: seen.append(connection.state().reason)
    await asyncio.to_thread(slack.disable_socket_mode)
    await until(lambda: seen)
    assert "Socket Mode is switched off" in seen[0]


async def test_the_eleventh_connection_is_turned_away_and_gets_in_when_there_is_room(slack: SlackServer) -> None:
    made = [SocketConnection(slack.app.app_token, slack.api_url, Bot(), intervals=QUICK) for _ in range(11)]
    for one in made[:10]:
        one.start()
    assert all([await one.connected(2) for one in made[:10]])
    made[10].start()
    await until(lambda: "too many connections" in made[10].state().reason)
    await made[0].stop()
    assert await made[10].connected(2)
    await asyncio.gather(*(one.stop() for one in made[1:]))


async def test_an_envelope_goes_to_exactly_one_of_several_connections(slack: SlackServer) -> None:
    bots = [Bot(), Bot(), Bot()]
    made = [SocketConnection(slack.app.app_token, slack.api_url, bot, intervals=QUICK) for bot in bots]
    for one in made:
        one.start()
    assert all([await one.connected(2) for one in made])
    results = await asyncio.gather(*(ask(slack, f"web {number}") for number in range(60)))
    assert all(result.acked for result in results)
    assert sum(len(bot.handled) for bot in bots) == 60
    assert all(bot.handled for bot in bots)
    await asyncio.gather(*(one.stop() for one in made))


async def test_stopping_lets_an_ack_in_flight_finish(
    slack: SlackServer, connection: SocketConnection, bot: Bot
) -> None:
    bot.hold.clear()
    asked = asyncio.create_task(ask(slack))
    await until(lambda: bot.handled)
    stopping = asyncio.create_task(connection.stop(drain=2))
    await asyncio.sleep(0.05)
    late = asyncio.create_task(ask(slack, "too late"))
    await asyncio.sleep(0.05)
    bot.hold.set()
    assert (await asked).acked
    await stopping
    assert not (await late).acked
    assert bot.handled == ["web 1.4.2"]
    assert not connection.state().connected


async def test_stopping_leaves_nothing_running(slack: SlackServer) -> None:
    before = asyncio.all_tasks()
    made = SocketConnection(slack.app.app_token, slack.api_url, Bot(), intervals=QUICK)
    made.start()
    assert await made.connected(2)
    await asyncio.to_thread(slack.refresh, lead=0.0)
    assert await made.connected(2)
    slack.cut(Cut.BLACKHOLE)
    await asyncio.sleep(0.3)
    started = time.monotonic()
    await made.stop()
    assert time.monotonic() - started < 1
    assert asyncio.all_tasks() <= before
    slack.mend()


def test_recovery_is_bounded_by_construction() -> None:
    real = Intervals()
    assert real.worst_recovery < 15
    assert real.backoff_most <= 5
    assert real.ping < real.silence
    assert real.linger >= Timing().ack  # a replaced connection is read for as long as Slack waits for its acks


async def test_with_the_real_intervals_a_cut_is_mended_in_time(slack: SlackServer, bot: Bot) -> None:
    made = SocketConnection(slack.app.app_token, slack.api_url, bot)
    made.start()
    assert await made.connected(5)
    slack.cut()
    await until(lambda: not made.state().connected)
    await asyncio.sleep(0.5)
    slack.mend()
    started = time.monotonic()
    assert await made.connected(Intervals().worst_recovery)
    assert (await ask(slack)).acked
    assert time.monotonic() - started <= Intervals().backoff_most + 1
    await made.stop()


@pytest.mark.skipif("LOCKTENDER_REAL_CLOCK" not in os.environ, reason="takes 40 s; LOCKTENDER_REAL_CLOCK=1 runs it")
async def test_with_the_real_intervals_silence_and_a_long_outage_are_mended_in_time(
    slack: SlackServer, bot: Bot
) -> None:
    made = SocketConnection(slack.app.app_token, slack.api_url, bot)
    made.start()
    assert await made.connected(5)
    slack.go_silent()
    started = time.monotonic()
    await until(lambda: made.state().reconnects == 1, seconds=15)
    assert await answered_again(slack, made) < 1
    assert time.monotonic() - started < Intervals().worst_recovery
    slack.cut(Cut.BLACKHOLE)
    await asyncio.sleep(20)
    slack.mend()
    started = time.monotonic()
    assert await made.connected(15)
    assert (await ask(slack)).acked
    assert time.monotonic() - started < Intervals().worst_recovery
    await made.stop()
