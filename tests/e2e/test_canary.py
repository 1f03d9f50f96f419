"""One deployment of the whole program with marked secrets: they are found nowhere, and the HTTP side tells the truth.

Left out: what each screen says (tests/slack), what looks like a secret (tests/unit/test_logs.py).
"""

import hashlib
import hmac
import json
import re
import socket
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from bot.sandbox.slack_model import AUDITOR, DEPLOYMENTS, DEVELOPER
from bot.sandbox.world import FAST, GIT_TOKEN, Sandbox
from tests.forked import forked_program

BOT_TOKEN = "xoxb-canary-bot-4711"
APP_TOKEN = "xapp-canary-app-4712"
SIGNING_SECRET = "canary-signing-secret-4713"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def signed_command(url: str, text: str) -> httpx.Response:
    body = urlencode(
        {
            "command": "/deploy",
            "text": text,
            "team_id": "T0LOCKTENDER",
            "user_id": DEVELOPER.id,
            "channel_id": DEPLOYMENTS.id,
            "trigger_id": "4714.http",
        }
    ).encode()
    stamp = str(int(time.time()))
    digest = hmac.new(SIGNING_SECRET.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-slack-request-timestamp": stamp,
        "x-slack-signature": f"v0={digest}",
    }
    return httpx.post(f"{url}/slack/events", content=body, headers=headers, trust_env=False)


def value(metrics: str, sample: str) -> float:
    return next((float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(sample + " ")), 0.0)


@pytest.mark.timeout(180)
def test_a_deployment_leaves_no_secret_anywhere_and_the_http_side_tells_of_it(tmp_path: Path) -> None:
    with Sandbox(tmp_path, speed=FAST) as sandbox:
        slack, people = sandbox.slack, sandbox.slack.workspace
        slack.reinstall(replace(slack.app, bot_token=BOT_TOKEN, app_token=APP_TOKEN, signing_secret=SIGNING_SECRET))
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        more = {"SLACK_SIGNING_SECRET": SIGNING_SECRET, "LOCKTENDER_PORT": str(port), "LOCKTENDER_LOG_LEVEL": "debug"}
        with forked_program(sandbox, more) as program, httpx.Client(base_url=url, trust_env=False) as probe:

            def ready() -> bool:
                try:
                    return probe.get("/readyz").status_code == 200
                except httpx.TransportError:
                    return False

            program.wait_until(ready, 30)
            assert probe.get("/healthz").text == "ok"

            # A deployment that goes live, one asked for over HTTP that fails, and a preview.
            people.command(DEVELOPER, "/deploy", "my-application 1.4.2 --reason canary run", channel=DEPLOYMENTS)
            program.wait_until(lambda: any("· live" in one.text for one in people.messages(DEPLOYMENTS)), 90)
            assert signed_command(url, "my-application 1.4.22 dev").json()["text"].startswith("Deploying")
            program.wait_until(lambda: any("· failed" in one.text for one in people.messages(DEPLOYMENTS)), 60)
            people.command(DEVELOPER, "/deploy", "my-application 1.4.3 dev --dry-run", channel=DEPLOYMENTS)
            program.wait_until(
                lambda: any("Nothing was committed;" in one.text for one in people.ephemerals(DEVELOPER)), 60
            )
            people.command(AUDITOR, "/audit", "history", channel=DEPLOYMENTS)

            metrics = probe.get("/metrics").text
            assert value(metrics, 'locktender_deployments{phase="succeeded"}') == 2
            assert value(metrics, 'locktender_deployments{phase="failed"}') == 1
            assert value(metrics, 'locktender_ack_seconds_count{kind="command"}') == 4
            assert value(metrics, 'locktender_step_seconds_count{step="write"}') >= 1
            assert "locktender_outbox_depth" in metrics

            # Cut off from Slack, and from the infra-repo, it says so in sentences, and is ready again afterwards.
            slack.cut()
            program.wait_until(lambda: not ready(), 30)
            assert any(one.startswith("Slack is not connected") for one in probe.get("/readyz").json()["troubles"])
            assert probe.get("/healthz").status_code == 200
            slack.mend()
            program.wait_until(ready, 30)
            hidden = sandbox.repository.rename(sandbox.repository.with_name("hidden.git"))
            program.wait_until(lambda: not ready(), 30)
            assert any("infra-repo cannot be read" in one for one in probe.get("/readyz").json()["troubles"])
            hidden.rename(sandbox.repository)
            program.wait_until(ready, 30)

            kubernetes = re.findall(r"token: (\S+)", Path(sandbox.environment()["KUBECONFIG"]).read_text())
            assert kubernetes
            jenkins = sandbox.jenkins.login.token
            secrets = [BOT_TOKEN, APP_TOKEN, SIGNING_SECRET, GIT_TOKEN, jenkins, *kubernetes]
            seen = {
                "slack": "\n".join(
                    one.text + json.dumps(one.blocks)
                    for one in (
                        *people.messages(DEPLOYMENTS),
                        *people.ephemerals(DEVELOPER),
                        *people.ephemerals(AUDITOR),
                    )
                ).encode(),
                "git": "\n".join(sandbox.log("%an %ae %cn %ce %B")).encode(),
                "log": program.log.read_bytes(),
                "metrics": metrics.encode(),
            }
        files = {
            str(one.relative_to(tmp_path)): one.read_bytes() for one in (tmp_path / "var").rglob("*") if one.is_file()
        }
        assert any(name.endswith(".db") for name in files), "the database was looked into"
        assert any(b"my-application" in text for text in files.values()), "what is stored can be found"
        found = [(name, text) for name, text in (seen | files).items() for secret in secrets if secret.encode() in text]
        assert [name for name, _ in found] == []
