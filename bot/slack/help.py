"""What can be typed, said in Slack."""

from bot.slack.cards import SlackMessage


def help_message(command: str) -> SlackMessage:
    """What can be typed."""
    rows = {
        "deploy": (
            (
                "*Deploy*  `/deploy APP VERSION [ENVIRONMENT] [--reason TEXT] [--dry-run]`\n"
                "for example `/deploy my-application 1.4.2`; the environment is `staging` unless you name one."
            ),
            "`--dry-run` shows what would change and commits nothing.",
            "*Look*  `/deploy status [APP] [ENVIRONMENT]` · `/audit history [app:… env:… by:… id:…]`",
            "*Take back*  `/deploy cancel ID` or `/deploy cancel APP ENVIRONMENT`, until it is committed.",
            "In a thread, mention me with the same words: slash commands do not work there.",
        ),
        "audit": (
            "*The record*  `/audit history [app:APP] [env:ENVIRONMENT] [by:@someone] [id:DEPLOYMENT]`",
            "`by:me` is you. Every request, refusal, commit, build and ending is in it.",
        ),
    }
    lines = rows["audit" if command == "audit" else "deploy"]
    text = "\n".join(lines)
    section = {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}
    return SlackMessage(text.replace("*", ""), (section,))
