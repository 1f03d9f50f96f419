"""The composition root: the only file that names concrete classes."""

import asyncio
import contextlib
import signal
from datetime import timedelta
from importlib import metadata

import structlog
import uvicorn
from prometheus_client import REGISTRY
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.exc import SQLAlchemyError

from bot import logs, record
from bot.assembly import code_host, executor, site
from bot.delivery import Delivery
from bot.desk import Desk
from bot.engine import Engine
from bot.factbook import Factbook
from bot.gate.effects import Effects
from bot.gate.gatekeeper import Gatekeeper
from bot.gate.merges import Merges
from bot.gate.outside import Outside
from bot.gate.proposals import Proposals
from bot.gate.visits import Visits
from bot.integrations.cluster import KubernetesCluster
from bot.integrations.github.webhooks import Happened
from bot.integrations.github.webhooks import Kind as HookKind
from bot.integrations.health import HealthProbe
from bot.integrations.infra_repo import GitInfraRepo
from bot.integrations.jenkins.pipeline import JenkinsPipeline
from bot.integrations.kustomize.render import KustomizeRenderer
from bot.links import commit_link
from bot.metrics import StoreCollector
from bot.outside import ExternalChanges
from bot.recordkeeping import Recordkeeping
from bot.registries import Registries
from bot.schedule import Schedule
from bot.serving import Server, StartError, listen
from bot.settings import Settings
from bot.slack.decisions import Decisions
from bot.slack.home import HomeTab
from bot.slack.image_clicks import ImageClicks
from bot.slack.listeners import BotIdentity, Listeners, build_app
from bot.slack.outbox import Outbox
from bot.slack.outbox_rows import OutboxRows
from bot.slack.people import SlackPeople
from bot.slack.socket import SocketConnection
from bot.slack.socket_bolt import bolt_dispatch
from bot.snapshot import Snapshots
from bot.steps.base import Reached, World, nothing
from bot.web import api, webhooks
from bot.web import app as web
from bot.web.api_parts import Parts
from bot.web.api_views import Places
from bot.writing import Writing
from commands.blocked import may_start, refresh_blocked
from commands.debts import nag
from commands.locks import expire
from commands.ports import CommitAuthor
from commands.reasons import Fault
from storage import database, ledger_keys
from storage.database import Database
from storage.keys import KeyFileError
from storage.unit_of_work import AuditEntry, Store

COMMITTER = CommitAuthor("Locktender", "locktender@localhost")
SLACK_PATIENCE = 60.0  # seconds for Slack to answer at start before the process gives up and is restarted
log = structlog.get_logger("app")


class Program:
    """Everything one process runs, put together from the settings. Create it inside a running event loop."""

    def __init__(self, settings: Settings, *, reached: Reached = nothing) -> None:
        self.settings = settings
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.host = code_host(settings)
        self.infra = GitInfraRepo(
            settings.infra_repo_url,
            settings.infra_repo_branch,
            settings.home / "git",
            committer=COMMITTER,
            # A GitHub App's tokens live for an hour: each push asks for the one of now.
            token=self.host.token if self.host and settings.github_app_id else settings.github_token.get_secret_value(),
        )
        signer = record.signer(settings, self.infra.address)
        self.store = Store(Database(settings.database), signer=signer)
        token = settings.slack_bot_token.get_secret_value()
        self.people = SlackPeople(token, settings.slack_api_url)
        self.slack = AsyncWebClient(token, base_url=settings.slack_api_url, timeout=10)
        self.pipeline = (
            JenkinsPipeline(
                settings.jenkins_url,
                settings.jenkins_user,
                settings.jenkins_token.get_secret_value(),
                ca_file=settings.jenkins_ca_file,
            )
            if settings.jenkins_url
            else None
        )
        self.cluster = KubernetesCluster(settings.kubeconfig) if settings.kubeconfig else None
        self.engine = Engine(
            self.store,
            settings.home,
            settings.database,
            executor=executor(),
            capacity=settings.capacity,
            may_start=lambda uow: may_start(uow, self.factbook.facts()),
        )
        self.outbox = Outbox(OutboxRows(self.store, commit_link(settings)), self.slack)
        self.factbook = Factbook(self.store, self.infra, self.people, Snapshots(), host=self.host)
        self.registries = Registries(settings)
        renderer = KustomizeRenderer()
        self.record = Recordkeeping(self.store, self.infra, settings, signer, self.factbook.facts)
        writing = Writing(
            self.infra, renderer, self.people, self.registries.of, self.factbook.head, self.record.trailer
        )
        effects = Effects(renderer)
        self.external = ExternalChanges(self.store, self.infra, effects, self.factbook.facts, host=self.host)
        self.gatekeeper: Gatekeeper | None = None
        merges: Merges | None = None
        if self.host is not None:
            outside = Outside(
                infra=self.infra,
                host=self.host,
                facts=self.factbook.facts,
                proposals=Proposals(self.infra, writing, self.host, effects),
                poll=timedelta(seconds=settings.gate_poll_seconds),
                shared=self.people.shared,
                changed=self.outbox.poke,
                ready=self.engine.poke,
                read_rules=self.factbook.read_rules,
                checkpoint=self.record.trailer,
            )
            self.gatekeeper = Gatekeeper(self.store, Visits(self.store, outside))
            merges = Merges(self.store, outside)
        world = World(
            writing=writing,
            pipeline=self.pipeline,
            cluster=self.cluster,
            facts=self.factbook.facts,
            pushed=self._pushed,
            changed=self.outbox.poke,
            merges=merges,
            health=HealthProbe(),
        )
        self.delivery = Delivery(self.store, world, reached=reached)
        self.pages = site(settings, self.store, self.factbook.facts, self.people.person, signer.origin)
        desk = Desk(self.store, self.factbook.facts, self.pages.link if self.pages else None)
        self.listeners = Listeners(desk, self.store, self._recorded)
        self.home = HomeTab(self.store, self.factbook.facts, self.slack, self.pages.link if self.pages else None)
        self.schedule = Schedule()
        self.socket: SocketConnection | None = None
        self.ready = False
        self.asked_to_stop = asyncio.Event()

    async def start(self) -> uvicorn.Server:
        """Start everything but the web server, which is returned ready to serve. Raises StartError."""
        self.engine.lock()  # before the database and the git mirror are touched
        await asyncio.to_thread(self._open_store)
        await asyncio.to_thread(ledger_keys.introduce, self.store)  # before anything else is recorded
        identity = await self._identity()
        self.factbook.team_id = identity.team_id
        await asyncio.to_thread(self.factbook.restore)
        await asyncio.to_thread(self.factbook.refresh)
        await asyncio.to_thread(self.engine.start, self.delivery)
        if self.store.database.is_sqlite:
            await asyncio.to_thread(self.outbox.reclaim)
        if self.gatekeeper is not None:
            if self.store.database.is_sqlite:
                await asyncio.to_thread(self.gatekeeper.reclaim)
            self.gatekeeper.start()
        self.outbox.start()
        bolt = build_app(self.listeners, identity, self.slack, self._register)
        if self.settings.socket_mode:
            app_token = self.settings.slack_app_token.get_secret_value()
            self.socket = SocketConnection(app_token, self.settings.slack_api_url, bolt_dispatch(bolt))
            self.socket.start()
        self._plan()
        await asyncio.to_thread(self._record, "bot:start")
        secret = self.settings.slack_signing_secret.get_secret_value()
        places = Places(commit_link(self.settings), self.settings.public_url)
        asked = api.create(Parts(self.store, self.factbook.facts, self._recorded, places))
        scraper = self.settings.metrics_token.get_secret_value()
        pages = self.pages.routes() if self.pages else ()
        app = web.create(bolt, secret, self.troubles, self._webhooks(), asked, metrics_token=scraper, pages=pages)
        REGISTRY.register(StoreCollector(self.store, lambda: self.engine.running))
        self.ready = True
        config = uvicorn.Config(
            app,
            host=self.settings.host,
            port=self.settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        return Server(config)

    async def stop(self) -> None:
        """Take nothing new, let what runs reach its record, send what is due, close."""
        self.ready = False
        if self.socket is not None:
            await self.socket.stop(drain=3.0)
        if self.gatekeeper is not None:
            await asyncio.to_thread(self.gatekeeper.stop)
        await asyncio.to_thread(self.engine.stop, 10.0)
        await asyncio.to_thread(self.schedule.stop)
        with contextlib.suppress(SQLAlchemyError):  # a database that is away must not keep the rest from closing
            await asyncio.to_thread(self._record, "bot:stop")
        await self.outbox.stop(drain=5.0)
        await self.home.stop()
        await asyncio.to_thread(self.listeners.close)
        if self.slack.session is not None:
            await self.slack.session.close()
        if self.pipeline is not None:
            self.pipeline.close()
        if self.cluster is not None:
            self.cluster.close()
        if self.host is not None:
            self.host.close()
        self.registries.close()
        self.store.database.close()

    def troubles(self) -> list[str]:
        """Why commands would not work now, a sentence each."""
        found = []
        try:
            self.store.database.ping()
        except SQLAlchemyError as error:
            found.append(f"The database does not answer ({type(error).__name__}).")
        if not self.ready:
            found.append("The program is starting or stopping.")
        if self.socket is not None and not self.socket.state().connected:
            found.append(f"Slack is not connected: {self.socket.state().reason or 'connecting'}.")
        if self.factbook.trouble:
            found.append(f"The infra-repo cannot be read: {self.factbook.trouble}")
        if self.factbook.in_force().catalogue is None:
            found.append(self.factbook.in_force().problem)
        return found

    # ------------------------------------------------------------ parts

    def _open_store(self) -> None:
        engine = self.store.database.engine
        if database.is_current(engine):
            return
        if not self.store.database.is_sqlite:
            raise StartError("The database's schema is not this version's: run `locktender db upgrade` first.")
        try:
            database.upgrade_apart(self.settings.database)
        except RuntimeError as error:
            raise StartError(f"{error}; the schema is as it was. Restore a backup, or report this.") from error

    async def _identity(self) -> BotIdentity:
        """Ask Slack who we are, patiently while it cannot be reached."""
        deadline = asyncio.get_running_loop().time() + SLACK_PATIENCE
        while True:
            try:
                answer = await self.slack.auth_test()
            except SlackApiError as error:
                code = error.response.get("error", "unknown")
                raise StartError(
                    f"Slack does not accept SLACK_BOT_TOKEN ({code}): reinstall the app and copy the new token."
                ) from error
            except (OSError, TimeoutError) as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise StartError(
                        f"Slack could not be reached at {self.settings.slack_api_url}: check the network and the proxy."
                    ) from error
                log.warning("app.slack_unreachable", error=type(error).__name__)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.asked_to_stop.wait(), 1)
                    raise StartError("It was stopped while Slack could not be reached.") from error
            else:
                token = self.settings.slack_bot_token.get_secret_value()
                return BotIdentity(
                    str(answer["team_id"]), str(answer["user_id"]), str(answer.get("bot_id") or ""), token
                )

    def _plan(self) -> None:
        seconds = self.settings.poll_seconds
        self.schedule.every("infra-repo", timedelta(seconds=seconds), self._look_at_git)
        self.record.plan(self.schedule)
        self.schedule.every("log", timedelta(seconds=0.5), self.store.database.fold_log)
        self.schedule.every("waiting", timedelta(seconds=1), self._look_at_waiting)
        self.schedule.every("debts", timedelta(minutes=1), self._nag)
        self.schedule.every("deliveries", timedelta(hours=1), self._forget)
        self.schedule.every("git-tidy", timedelta(hours=24), self.infra.tidy, first_in=timedelta(hours=1))
        self.schedule.every("engine-tidy", timedelta(hours=6), self.engine.forget, first_in=timedelta(minutes=10))
        self.schedule.start()

    def _recorded(self) -> None:
        """A request was recorded: there may be a deployment to start, a change to look at and a card to post."""
        self.engine.poke()
        self.outbox.poke()
        if self.gatekeeper is not None:
            self.gatekeeper.poke()

    def _pushed(self, commit: str) -> None:
        """The branch has moved: what is remembered of it, and what changes are bound to, is looked at again."""
        self.factbook.pushed(commit)
        if self.gatekeeper is not None:
            self.gatekeeper.hurry()

    def _register(self, app: AsyncApp) -> None:
        """Listeners of their own, before those that take everything else."""
        Decisions(self.listeners, self.store, self.slack).register(app)
        ImageClicks(self.listeners).register(app)
        self.home.register(app)

    def _webhooks(self) -> web.Endpoint | None:
        secret = self.settings.github_webhook_secret.get_secret_value()
        if self.gatekeeper is None or not secret:
            return None
        return webhooks.endpoint(secret, self.settings.github_repository, self._happened)

    def _happened(self, news: Happened) -> None:
        """A webhook: only ever a reason to look."""
        if self.gatekeeper is None:
            return
        if news.kind is HookKind.PUSH and news.branch == self.settings.infra_repo_branch:
            self._look_at_git()
            self.gatekeeper.hurry()
        else:
            self.gatekeeper.hurry(news.branch)

    def _look_at_waiting(self) -> None:
        """What holds waiting deployments up changes with the clock: their cards say so, and what may start starts."""
        facts = self.factbook.facts()
        lifted = expire(self.store, facts)
        if refresh_blocked(self.store, facts) or lifted:
            self.engine.poke()
            self.outbox.poke()

    def _look_at_git(self) -> None:
        before = self.infra.head()
        self.factbook.refresh()
        if self.external.look():
            self.outbox.poke()
        if self.gatekeeper is not None and self.infra.head() != before:
            self.gatekeeper.hurry()

    def _nag(self) -> None:
        if nag(self.store, self.factbook.facts()):
            self.outbox.poke()

    def _forget(self) -> None:
        with self.store.write() as uow:
            uow.forget_deliveries()
            uow.forget_messages()

    def _record(self, action: str) -> None:
        details = {"executor": self.engine.executor, "version": metadata.version("locktender")}
        if action == "bot:start":  # what it was told by its environment that is no secret
            details |= {
                "branch": self.settings.infra_repo_branch,
                "database": "sqlite" if self.store.database.is_sqlite else "postgres",
                "slack": "socket" if self.settings.socket_mode else "http",
                "code_host": self.settings.github_repository,
                "url": self.settings.public_url,
            }
        with self.store.write() as uow:
            uow.audit(AuditEntry(action, details={name: value for name, value in details.items() if value}))


async def run(settings: Settings, *, reached: Reached = nothing) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError when the program cannot start."""
    logs.configure(settings.log_level)
    listening = listen(settings.host, settings.port)
    try:
        program = Program(settings, reached=reached)
    except Fault as fault:
        raise StartError(f"{fault.what} {fault.next_step}") from fault
    except KeyFileError as error:
        raise StartError(str(error)) from error
    # Before anything starts, so that from its first instant it is stopped in order.
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, program.asked_to_stop.set)
    server = await program.start()
    serving = asyncio.create_task(server.serve([listening]))
    stopping = asyncio.create_task(program.asked_to_stop.wait())
    log.info("app.started", host=settings.host, port=settings.port, socket_mode=settings.socket_mode)
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    log.info("app.stopping")
    server.should_exit = True
    try:
        await serving
    finally:  # whatever the web server died of, deliveries reach their record
        stopping.cancel()
        await program.stop()
    log.info("app.stopped")
