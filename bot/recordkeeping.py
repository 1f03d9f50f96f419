"""What keeps the record: its index, files that were asked for, checkpoints that leave the database."""

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from bot import record
from bot.audit_orders import Orders
from bot.checkpoints import publish
from bot.integrations.infra_repo import GitInfraRepo
from bot.schedule import Schedule
from bot.settings import Settings
from bot.slack.uploads import Uploads
from commands.facts import Facts
from storage import audit_index, ledger, ledger_keys
from storage.unit_of_work import Store
from storage.verdict import Verdict

VERIFY_SECONDS = 120.0
"""How long `/audit verify` may take; the command line has no such limit."""
INDEX_SECONDS = 1.5
"""How long one round of indexing may take; it comes every two seconds."""
GENTLY, PAUSE = 25, 0.08
"""Rows indexed in one transaction, and seconds from one to the next: acks come in between."""
FAR_BEHIND = 2_000
"""Rows that are not indexed yet at which to hurry instead: a record that was there before the index."""
log = structlog.get_logger("record")


class Recordkeeping:
    """Jobs by the clock, and the trailer that anchors the record in each commit."""

    def __init__(
        self,
        store: Store,
        infra: GitInfraRepo,
        settings: Settings,
        signer: ledger.Signer,
        facts: Callable[[], Facts],
    ) -> None:
        self._store = store
        self._infra = infra
        self._facts = facts
        self._signer = signer
        uploads = Uploads(settings.slack_bot_token.get_secret_value(), settings.slack_api_url)
        self._orders = Orders(store, settings.home, uploads.give, self._judge)

    def trailer(self) -> tuple[tuple[str, str], ...]:
        """The checkpoint of now, for a commit's trailers."""
        return ledger_keys.trailer(self._store)

    def plan(self, schedule: Schedule) -> None:
        """Have all of it done by the clock."""
        schedule.every("audit-index", timedelta(seconds=2), self._index)
        schedule.every("audit-orders", timedelta(seconds=2), self._give)
        schedule.every("audit-checkpoint", timedelta(minutes=10), self._publish, first_in=timedelta(minutes=1))

    def _index(self) -> None:
        until = time.monotonic() + INDEX_SECONDS
        hurried = audit_index.behind(self._store) > FAR_BEHIND
        while time.monotonic() < until:
            if not audit_index.catch_up(self._store, audit_index.BATCH if hurried else GENTLY):
                return
            if not hurried:
                time.sleep(PAUSE)

    def _give(self) -> None:
        while self._orders.once():
            log.info("record.order_done")

    def _publish(self) -> None:
        known = self._facts().in_force.catalogue
        if known is not None:
            publish(self._store, self._infra, known.channels.deployments)

    def _judge(self) -> Verdict:
        trust = record.trust_of(self._signer)
        return record.quick(self._store, trust, self._infra.checkpoints(), VERIFY_SECONDS)
