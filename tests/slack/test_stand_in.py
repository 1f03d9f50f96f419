"""The stand-in's Web API, called as the bot calls it: what it does, and how it says no where Slack does.

Held to Slack's documentation through slack_sdk's own client. Left out: Socket Mode (test_socket_mode.py), HTTP
deliveries (test_stand_in_http.py) and the limits of blocks one by one (test_stand_in_limits.py).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import replace

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.models.metadata import Metadata
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.slack import SlackServer
from bot.sandbox.slack_limits import UNLIMITED, Rates
from bot.sandbox.slack_model import (
    ARCHIVED,
    DEPLOYMENTS,
    DEVELOPER,
    GENERAL,
    MANIFEST_SCOPES,
    OUTSIDER,
    PRIVATE,
    RELEASE_MANAGER,
    RELEASE_MANAGERS,
    Json,
    SlackApp,
    Timing,
    World,
)
from bot.slack.manifest import SCOPES

HOME = DEPLOYMENTS.id
EVERYTHING = MANIFEST_SCOPES | {"channels:join", "reactions:write"}
MODAL: Json = {"type": "modal", "title": {"type": "plain_text", "text": "Deploy"}, "blocks": [{"type": "divider"}]}


@pytest.fixture
def slack() -> Iterator[SlackServer]:
    world = World(app=SlackApp(bot_scopes=EVERYTHING))
    with SlackServer(world, timing=Timing(ack=0.2, trigger=0.3), rates=UNLIMITED) as server:
        yield server


@pytest.fixture
async def client(slack: SlackServer) -> AsyncIterator[AsyncWebClient]:
    async with aiohttp.ClientSession() as session:
        yield AsyncWebClient(slack.app.bot_token, base_url=slack.api_url, session=session, retry_handlers=[])


async def refusal(call: Awaitable[object]) -> Json:
    with pytest.raises(SlackApiError) as caught:
        await call
    assert caught.value.response["ok"] is False
    data: Json = caught.value.response.data
    return data


async def error(call: Awaitable[object]) -> str:
    return str((await refusal(call))["error"])


async def trigger_of(slack: SlackServer) -> str:
    """Of a command that nobody answers: the trigger is good all the same."""
    return (await asyncio.to_thread(slack.workspace.command, DEVELOPER, "/deploy")).trigger_id


# ---------------------------------------------------------------- tokens and scopes


async def test_the_bot_learns_who_it_is(slack: SlackServer, client: AsyncWebClient) -> None:
    who = await client.auth_test()
    assert (who["user_id"], who["bot_id"], who["team_id"]) == ("U0LOCKTENDER", "B0LOCKTENDER", "T0LOCKTENDER")
    assert slack.workspace.calls("auth.test")[0].error == ""


@pytest.mark.parametrize(("token", "said"), [("", "not_authed"), ("xoxb-wrong", "invalid_auth")])
async def test_a_wrong_token_is_refused(slack: SlackServer, token: str, said: str) -> None:
    assert await error(AsyncWebClient(token or None, base_url=slack.api_url).auth_test()) == said


async def test_tokens_do_not_stand_in_for_each_other(slack: SlackServer, client: AsyncWebClient) -> None:
    assert await error(client.apps_connections_open(app_token=slack.app.bot_token)) == "not_allowed_token_type"
    assert await error(client.auth_test(token=slack.app.app_token)) == "not_allowed_token_type"


async def test_a_missing_scope_is_named(slack: SlackServer, client: AsyncWebClient) -> None:
    slack.reinstall(replace(slack.app, bot_scopes=frozenset({"commands"})))
    said = await refusal(client.chat_postMessage(channel=HOME, text="hello"))
    assert (said["error"], said["needed"], said["provided"]) == ("missing_scope", "chat:write", "commands")


def test_the_stand_in_grants_what_the_manifest_asks_for() -> None:
    assert frozenset(SCOPES) == MANIFEST_SCOPES


async def test_a_channel_is_not_read_without_the_scope_for_it(slack: SlackServer, client: AsyncWebClient) -> None:
    slack.reinstall(replace(slack.app, bot_scopes=MANIFEST_SCOPES - {"channels:history"}))
    said = await refusal(client.conversations_history(channel=HOME))
    assert (said["error"], said["needed"]) == ("missing_scope", "channels:history")


async def test_a_deactivated_app_is_told_so(slack: SlackServer, client: AsyncWebClient) -> None:
    slack.reinstall(replace(slack.app, deactivated=True))
    assert await error(client.auth_test()) == "account_inactive"


# ---------------------------------------------------------------- messages


async def test_a_posted_message_is_in_the_channel_with_its_metadata(slack: SlackServer, client: AsyncWebClient) -> None:
    about = Metadata(event_type="card", event_payload={"deployment": "d-17"})
    posted = await client.chat_postMessage(channel=HOME, text="deploying", metadata=about)
    (message,) = slack.workspace.messages(DEPLOYMENTS)
    assert (message.ts, message.text, message.bot_id) == (posted["ts"], "deploying", slack.app.bot_id)
    assert message.metadata == {"event_type": "card", "event_payload": {"deployment": "d-17"}}


async def test_timestamps_are_unique_and_rise(slack: SlackServer, client: AsyncWebClient) -> None:
    posted = await asyncio.gather(*(client.chat_postMessage(channel=HOME, text=str(n)) for n in range(30)))
    assert len({one["ts"] for one in posted}) == 30
    stored = [float(one.ts) for one in slack.workspace.messages(DEPLOYMENTS)]
    assert stored == sorted(stored)


async def test_form_bodies_work_as_json_bodies_do(slack: SlackServer) -> None:
    form = {"token": slack.app.bot_token, "channel": HOME, "text": "as a form", "blocks": '[{"type": "divider"}]'}
    async with aiohttp.ClientSession() as session, session.post(f"{slack.api_url}chat.postMessage", data=form) as said:
        assert (await said.json())["ok"] is True
    assert slack.workspace.messages(DEPLOYMENTS)[0].blocks[0]["type"] == "divider"


async def test_unknown_arguments_are_ignored(client: AsyncWebClient) -> None:
    assert (await client.chat_postMessage(channel=HOME, text="hello", invented="yes"))["ok"]


async def test_an_update_leaves_one_message_with_an_edited_mark(slack: SlackServer, client: AsyncWebClient) -> None:
    first = await client.chat_postMessage(channel=HOME, text="queued", blocks=[{"type": "divider"}])
    await client.chat_update(channel=HOME, ts=first["ts"], text="live")
    (message,) = slack.workspace.messages(DEPLOYMENTS)
    assert (message.text, message.ts, len(message.blocks)) == ("live", first["ts"], 1)  # blocks not named are kept
    assert message.edited
    assert [one.text for one in slack.workspace.versions(message)] == ["queued", "live"]


async def test_only_our_own_messages_can_be_changed(slack: SlackServer, client: AsyncWebClient) -> None:
    theirs = slack.workspace.say(DEVELOPER, DEPLOYMENTS, "hands off")
    assert await error(client.chat_update(channel=HOME, ts=theirs.ts, text="x")) == "cant_update_message"
    assert await error(client.chat_delete(channel=HOME, ts=theirs.ts)) == "cant_delete_message"
    assert await error(client.chat_update(channel=HOME, ts="1.000001", text="x")) == "message_not_found"


async def test_a_deleted_message_is_gone(slack: SlackServer, client: AsyncWebClient) -> None:
    posted = await client.chat_postMessage(channel=HOME, text="oops")
    await client.chat_delete(channel=HOME, ts=posted["ts"])
    assert slack.workspace.messages(DEPLOYMENTS) == ()
    assert await error(client.chat_update(channel=HOME, ts=posted["ts"], text="x")) == "message_not_found"


async def test_an_ephemeral_is_seen_by_one_person_and_cannot_be_updated(
    slack: SlackServer, client: AsyncWebClient
) -> None:
    sent = await client.chat_postEphemeral(channel=HOME, user=DEVELOPER.id, text="psst")
    assert [one.text for one in slack.workspace.ephemerals(DEVELOPER)] == ["psst"]
    assert slack.workspace.ephemerals(RELEASE_MANAGER) == ()
    assert slack.workspace.messages(DEPLOYMENTS) == ()
    assert await error(client.chat_update(channel=HOME, ts=sent["message_ts"], text="x")) == "message_not_found"


async def test_an_ephemeral_needs_both_in_the_channel(client: AsyncWebClient) -> None:
    stranger = client.chat_postEphemeral(channel=HOME, user=OUTSIDER.id, text="psst")
    assert await error(stranger) == "user_not_in_channel"
    elsewhere = client.chat_postEphemeral(channel=GENERAL.id, user=DEVELOPER.id, text="psst")
    assert await error(elsewhere) == "not_in_channel"


@pytest.mark.parametrize(
    ("channel", "said"),
    [("C0NOWHERE", "channel_not_found"), (PRIVATE.id, "channel_not_found"), (ARCHIVED.id, "is_archived")],
)
async def test_channels_that_cannot_be_posted_to(client: AsyncWebClient, channel: str, said: str) -> None:
    assert await error(client.chat_postMessage(channel=channel, text="hello")) == said


async def test_posting_without_being_a_member_needs_its_scope(slack: SlackServer, client: AsyncWebClient) -> None:
    assert (await client.chat_postMessage(channel=GENERAL.id, text="hello"))["ok"]
    slack.reinstall(replace(slack.app, bot_scopes=EVERYTHING - {"chat:write.public"}))
    assert await error(client.chat_postMessage(channel=GENERAL.id, text="hello")) == "not_in_channel"


async def test_what_is_too_much_or_nothing_is_refused(client: AsyncWebClient) -> None:
    assert await error(client.chat_postMessage(channel=HOME, text="x" * 4001)) == "msg_too_long"
    assert (await client.chat_postMessage(channel=HOME, text="x" * 4000))["ok"]
    assert await error(client.api_call("chat.postMessage", json={"channel": HOME})) == "no_text"
    much = {"event_type": "card", "event_payload": {"x": "y" * 9000}}
    assert await error(client.chat_postMessage(channel=HOME, text="x", metadata=much)) == "metadata_too_large"
    odd = {"event_type": "card"}
    assert await error(client.chat_postMessage(channel=HOME, text="x", metadata=odd)) == "invalid_metadata_format"


async def test_bad_blocks_are_pointed_at(client: AsyncWebClient) -> None:
    blocks: list[Json] = [{"type": "divider"}, {"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]
    said = await refusal(client.chat_postMessage(channel=HOME, text="x", blocks=blocks))
    assert said["error"] == "invalid_blocks"
    pointed = "[ERROR] must be less than 151 characters [json-pointer:/blocks/1/text/text]"
    assert said["response_metadata"]["messages"] == [pointed]


# ---------------------------------------------------------------- reading


async def test_history_is_newest_first_without_replies_and_pages(client: AsyncWebClient) -> None:
    about = {"event_type": "card", "event_payload": {"n": 0}}
    first = await client.chat_postMessage(channel=HOME, text="0", metadata=about)
    for n in range(1, 5):
        await client.chat_postMessage(channel=HOME, text=str(n))
    await client.chat_postMessage(channel=HOME, text="reply", thread_ts=first["ts"])
    page = await client.conversations_history(channel=HOME, limit=3)
    assert [one["text"] for one in page["messages"]] == ["4", "3", "2"]
    assert page["has_more"]
    cursor = page["response_metadata"]["next_cursor"]
    rest = await client.conversations_history(channel=HOME, limit=3, cursor=cursor, include_all_metadata=True)
    assert [one["text"] for one in rest["messages"]] == ["1", "0"]
    assert rest["messages"][1]["metadata"] == about
    assert rest["messages"][1]["reply_count"] == 1
    plain = await client.conversations_history(channel=HOME, latest=first["ts"], inclusive=True)
    assert [("metadata" in one, one["text"]) for one in plain["messages"]] == [(False, "0")]


async def test_replies_start_with_their_parent(client: AsyncWebClient, slack: SlackServer) -> None:
    parent = await client.chat_postMessage(channel=HOME, text="card")
    reply = await client.chat_postMessage(channel=HOME, text="a", thread_ts=parent["ts"])
    await client.chat_postMessage(channel=HOME, text="b", thread_ts=reply["ts"])  # a reply to a reply joins the thread
    thread = await client.conversations_replies(channel=HOME, ts=parent["ts"])
    assert [one["text"] for one in thread["messages"]] == ["card", "a", "b"]
    assert [one.text for one in slack.workspace.thread(DEPLOYMENTS, parent["ts"])] == ["card", "a", "b"]
    assert await error(client.conversations_replies(channel=HOME, ts="1.000001")) == "thread_not_found"
    assert await error(client.chat_postMessage(channel=HOME, text="x", thread_ts="1.000001")) == "thread_not_found"


async def test_a_channel_can_be_read_after_joining_it(client: AsyncWebClient) -> None:
    assert await error(client.conversations_history(channel=GENERAL.id)) == "not_in_channel"
    await client.conversations_join(channel=GENERAL.id)
    assert (await client.conversations_history(channel=GENERAL.id))["messages"] == []


async def test_channels_show_who_shares_them(client: AsyncWebClient) -> None:
    listed = await client.conversations_list(exclude_archived=True, types=["public_channel", "private_channel"])
    shown = {one["name"]: one["is_ext_shared"] for one in listed["channels"]}
    assert shown == {"deployments": False, "general": False, "ext-partner": True}
    assert (await client.conversations_info(channel=HOME))["channel"]["is_member"]


async def test_people_are_found_and_a_stranger_has_no_email(client: AsyncWebClient) -> None:
    found = await client.users_lookupByEmail(email=DEVELOPER.email)
    assert found["user"]["id"] == DEVELOPER.id
    stranger = (await client.users_info(user=OUTSIDER.id))["user"]
    assert (stranger["team_id"], stranger["is_stranger"], "email" in stranger["profile"]) == ("T0PARTNER", True, False)
    assert OUTSIDER.id not in {one["id"] for one in (await client.users_list())["members"]}
    assert await error(client.users_info(user="U0NOBODY")) == "user_not_found"
    assert await error(client.users_lookupByEmail(email=OUTSIDER.email)) == "users_not_found"


async def test_groups_have_members_until_they_are_disabled(slack: SlackServer, client: AsyncWebClient) -> None:
    listed = await client.usergroups_list(include_users=True)
    assert [(one["handle"], one["users"]) for one in listed["usergroups"]] == [
        ("release-managers", [RELEASE_MANAGER.id])
    ]
    members = await client.usergroups_users_list(usergroup=RELEASE_MANAGERS.id)
    assert members["users"] == [RELEASE_MANAGER.id]
    slack.workspace.put_group(replace(RELEASE_MANAGERS, disabled=True))
    assert await error(client.usergroups_users_list(usergroup=RELEASE_MANAGERS.id)) == "no_such_subteam"


async def test_a_permalink_leads_to_the_message(client: AsyncWebClient) -> None:
    posted = await client.chat_postMessage(channel=HOME, text="card")
    link = await client.chat_getPermalink(channel=HOME, message_ts=posted["ts"])
    assert link["permalink"].endswith(f"/archives/{HOME}/p{posted['ts'].replace('.', '')}")


async def test_a_reaction_is_added_once(slack: SlackServer, client: AsyncWebClient) -> None:
    posted = await client.chat_postMessage(channel=HOME, text="card")
    await client.reactions_add(channel=HOME, timestamp=posted["ts"], name="eyes")
    assert slack.workspace.messages(DEPLOYMENTS)[0].reactions == ("eyes",)
    again = client.reactions_add(channel=HOME, timestamp=posted["ts"], name="eyes")
    assert await error(again) == "already_reacted"


# ---------------------------------------------------------------- views and files


async def test_a_trigger_opens_one_view_within_its_time(slack: SlackServer, client: AsyncWebClient) -> None:
    trigger = await trigger_of(slack)
    await client.views_open(trigger_id=trigger, view=MODAL)
    assert [view.title for view in slack.workspace.views(DEVELOPER)] == ["Deploy"]
    assert await error(client.views_open(trigger_id=trigger, view=MODAL)) == "exchanged_trigger_id"
    assert await error(client.views_open(trigger_id="1.2.3", view=MODAL)) == "invalid_trigger_id"
    late = await trigger_of(slack)
    await asyncio.sleep(0.35)
    assert await error(client.views_open(trigger_id=late, view=MODAL)) == "expired_trigger_id"


async def test_views_stack_three_high_and_update_by_hash(slack: SlackServer, client: AsyncWebClient) -> None:
    opened = await client.views_open(trigger_id=await trigger_of(slack), view=MODAL)
    for _ in range(2):
        await client.views_push(trigger_id=await trigger_of(slack), view=MODAL)
    push = client.views_push(trigger_id=await trigger_of(slack), view=MODAL)
    assert await error(push) == "push_limit_reached"
    view = opened["view"]
    await client.views_update(view_id=view["id"], view=MODAL, hash=view["hash"])
    stale = client.views_update(view_id=view["id"], view=MODAL, hash=view["hash"])
    assert await error(stale) == "hash_conflict"
    assert await error(client.views_update(view_id="V0NONE", view=MODAL)) == "not_found"


async def test_a_home_tab_is_published_for_one_person(slack: SlackServer, client: AsyncWebClient) -> None:
    home = {"type": "home", "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "Deployments"}}]}
    await client.views_publish(user_id=DEVELOPER.id, view=home)
    seen = slack.workspace.home(DEVELOPER)
    assert seen is not None
    assert seen.blocks[0]["text"]["text"] == "Deployments"
    assert slack.workspace.home(RELEASE_MANAGER) is None
    assert await error(client.views_publish(user_id=DEVELOPER.id, view=MODAL)) == "invalid_arguments"


async def test_a_file_is_uploaded_in_three_steps(slack: SlackServer, client: AsyncWebClient) -> None:
    await client.files_upload_v2(channel=HOME, filename="audit.csv", content="a,b\n1,2\n", initial_comment="the export")
    (file,) = slack.workspace.files()
    assert (file.name, file.content, file.channels) == ("audit.csv", b"a,b\n1,2\n", (HOME,))
    assert [one.text for one in slack.workspace.messages(DEPLOYMENTS)] == ["the export"]


async def test_a_file_that_was_never_sent_cannot_be_completed(client: AsyncWebClient) -> None:
    announced = await client.files_getUploadURLExternal(filename="audit.csv", length=8)
    done = client.files_completeUploadExternal(files=[{"id": announced["file_id"], "title": "x"}], channel_id=HOME)
    assert await error(done) == "file_not_found"


# ---------------------------------------------------------------- rates


async def test_a_channel_takes_a_burst_and_then_one_message_a_second() -> None:
    world = World(app=SlackApp(bot_scopes=EVERYTHING))
    with SlackServer(world, rates=Rates(post_burst=2)) as slack:
        async with aiohttp.ClientSession() as session:
            client = AsyncWebClient(slack.app.bot_token, base_url=slack.api_url, session=session, retry_handlers=[])
            for _ in range(2):
                await client.chat_postMessage(channel=HOME, text="x")
            with pytest.raises(SlackApiError) as caught:
                await client.chat_postMessage(channel=HOME, text="x")
            assert (caught.value.response.status_code, caught.value.response["error"]) == (429, "ratelimited")
            assert caught.value.response.headers["Retry-After"] == "1"
            assert (await client.chat_postMessage(channel=GENERAL.id, text="x"))["ok"]  # each channel has its own
            await asyncio.sleep(1)
            assert (await client.chat_postMessage(channel=HOME, text="x"))["ok"]


async def test_a_tier_counts_calls_of_one_method() -> None:
    with SlackServer(rates=Rates(tiers=(1, 2, 3, 4))) as slack:
        async with aiohttp.ClientSession() as session:
            client = AsyncWebClient(slack.app.bot_token, base_url=slack.api_url, session=session, retry_handlers=[])
            for _ in range(2):
                await client.usergroups_users_list(usergroup=RELEASE_MANAGERS.id)
            limited = client.usergroups_users_list(usergroup=RELEASE_MANAGERS.id)
            assert await error(limited) == "ratelimited"
            assert (await client.usergroups_list())["ok"]
