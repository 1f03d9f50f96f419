"""What can be typed, said in Slack: every form of every command, with an example. Pure."""

from collections.abc import Mapping

from bot.slack.blocks import SlackMessage
from bot.slack.parse import DEPLOY, PROMOTE, ROLLBACK

_DEPLOY = f"""\
*Deploy*  {DEPLOY.right}
for example `/deploy my-application 1.4.2`; the environment is `staging` unless you name one.
`--dry-run` shows what would change and commits nothing.
*Look*  `/deploy status [APP] [ENVIRONMENT]` · `/deploy queue` · `/audit history [app:… env:… by:… id:…]`
*What holds it up, and who can lift that*  `/deploy why ID` or `/deploy why APP [ENVIRONMENT]`
*Decide*  on the card (`/deploy approve ID` says where) · `/deploy reject ID --reason TEXT` · `/deploy review ID`
*Take back*  `/deploy cancel ID` or `/deploy cancel APP ENVIRONMENT`, until it is committed; afterwards, `/rollback`.
*Lock*  `/deploy lock APP|ENVIRONMENT|APP ENVIRONMENT|all [2h] --reason TEXT` · `/deploy unlock …`
*Freeze*  `/deploy freeze ENVIRONMENT|all 2h --reason TEXT` · `/deploy unfreeze …`"""
_PROMOTE = f"""\
*Promote*  {PROMOTE.right}
for example `/promote my-application staging production`; without environments, the last step of the promotion path.
Exactly the image that runs in FROM goes to TO. Several apps are one change with one approval.
`--force` promotes from where it is not known to be healthy; the reason is for whoever approves it."""
_ROLLBACK = f"""\
*Roll back*  {ROLLBACK.right}
for example `/rollback my-application production --reason checkout is slow`.
It goes back to the last version that was healthy, or to what `to` names, and automation leaves it there.
`--exact` restores the shared base too; its card shows what else that changes."""
_AUDIT = """\
*The record*  `/audit history [app:APP] [env:ENVIRONMENT] [by:@someone] [since:7d] [status:failed] [words]`
for example `/audit history app:my-application by:me checkout`; `by:me` is you.
More filters: `id:DEPLOYMENT`, `until:2026-01-31`, `commit:abc1234`, `version:1.4.2`, `action:change`, \
`action:change:approve`.
Every request, refusal, approval, commit, build and ending is in it.
*One story*  `/audit show ID`: who asked, who approved what, what became of it
*In the browser*  `/audit open` or `/audit open ID`: a link for you alone
*Evidence*  `/audit evidence ID`: all of it for an auditor, a page and a file that proves itself
*A file*  `/audit export csv|jsonl [filters]`, to you alone
*Numbers*  `/audit report [since:30d] [app:APP] [env:ENVIRONMENT]`: how often, how fast, how well
*Proof*  `/audit verify`: whether anybody changed the record"""
_TIMES = """\
`--at` waits for a time: `22:00`, `tomorrow 09:00`, `2026-01-31 22:00`, `22:00 Europe/Berlin` or `+2h`. \
Without a zone it is UTC."""
_GLASS = """\
`--break-glass` does not wait for approval, where your role permits that: everybody is told at once, and a second \
person has to review it."""
_MORE = """\
*More*  `/promote help` · `/rollback help` · `/audit help`
An app that is called like a word above: `/deploy deploy queue 1.4.2`.
In a thread, mention me with the same words: slash commands do not work there."""
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "deploy": (_DEPLOY, _TIMES, _GLASS, _MORE),
    "promote": (_PROMOTE, _TIMES, _GLASS),
    "rollback": (_ROLLBACK, _GLASS),
    "audit": (_AUDIT,),
}


def help_message(command: str) -> SlackMessage:
    """What can be typed for `deploy`, `promote`, `rollback` or `audit`; for anything else, all of `deploy`."""
    text = "\n".join(_TEXTS.get(command, _TEXTS["deploy"]))
    section = {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}
    return SlackMessage(text.replace("*", ""), (section,))
