"""`locktender doctor`: looks at everything the bot needs, changes nothing, and says what to do about what is wrong."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.markup import escape
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot import doctor_backup, doctor_github, doctor_registry
from bot.doctor_finding import Finding, Verdict, guarded
from bot.integrations.cluster import KubernetesCluster
from bot.integrations.infra_repo import GitInfraRepo
from bot.integrations.jenkins.pipeline import JenkinsPipeline
from bot.integrations.kustomize.command import find_command
from bot.integrations.kustomize.edit import overlay_file
from bot.settings import RecordPlaces, Settings
from bot.slack.manifest import SCOPES
from commands.catalogue import Catalogue, ReconcilerKind, RolloutWatch
from commands.catalogue_faults import Faults
from commands.catalogue_reader import read
from commands.ports import CommitAuthor, Tree
from commands.reasons import Fault


def examine(settings: Settings, console: Console) -> int:
    """Print every finding, then every default that is in effect. 0 when nothing is bad, else 1."""
    is_bad = False
    known: Catalogue | None = None

    def say(finding: Finding) -> None:
        nonlocal is_bad
        is_bad = is_bad or finding.verdict is Verdict.BAD
        _print(console, finding)

    say(guarded(_kustomize))
    for finding in asyncio.run(_slack(settings)):
        say(finding)
    with tempfile.TemporaryDirectory(prefix="locktender-doctor-") as folder:
        known = _infra_repo(settings, Path(folder), say)
    looks = (doctor_github.look, doctor_registry.look, _jenkins, _cluster, _missing)
    for finding in (finding for look in looks for finding in look(settings, known)):
        say(finding)
    if known is not None:
        console.print("\nIn effect:")
        for line in known.explain():
            console.print(f"  {escape(line)}")
    return int(is_bad)


def drill(places: RecordPlaces, backup: Path, console: Console) -> int:
    """Print what a restore of this backup would come to. 0 when nothing is bad, else 1."""
    is_bad = False
    for finding in doctor_backup.look(places, backup):
        is_bad = is_bad or finding.verdict is Verdict.BAD
        _print(console, finding)
    return int(is_bad)


def _print(console: Console, finding: Finding) -> None:
    colour = {Verdict.GOOD: "green", Verdict.WARNING: "yellow", Verdict.BAD: "red"}[finding.verdict]
    console.print(f"[{colour}]{finding.verdict}[/] {escape(finding.what)}")
    if finding.next_step:
        console.print(f"    {escape(finding.next_step)}")


def _kustomize() -> str:
    return f"kustomize: {' '.join(Path(word).name for word in find_command())}"


async def _slack(settings: Settings) -> list[Finding]:
    client = AsyncWebClient(settings.slack_bot_token.get_secret_value(), base_url=settings.slack_api_url, timeout=10)
    try:
        answer = await client.auth_test()
    except SlackApiError as error:
        code = error.response.get("error", "unknown")
        return [Finding(Verdict.BAD, f"Slack does not accept SLACK_BOT_TOKEN ({code}).", "Reinstall the app.")]
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return [Finding(Verdict.BAD, f"Slack cannot be reached ({type(error).__name__}).", "Check network and proxy.")]
    found = [Finding(Verdict.GOOD, f"Slack: team {answer['team_id']}, bot {answer['user_id']}")]
    granted = {scope.strip() for scope in str(answer.headers.get("x-oauth-scopes", "")).split(",") if scope.strip()}
    if granted:
        missing, more = set(SCOPES) - granted, granted - set(SCOPES)
        if missing:
            step = "Update the app from manifest.yaml and reinstall it."
            found.append(Finding(Verdict.BAD, f"Slack scopes are missing: {', '.join(sorted(missing))}.", step))
        if more:
            what = f"Slack scopes that are not needed: {', '.join(sorted(more))}."
            found.append(Finding(Verdict.WARNING, what, "Remove them: whoever steals the token has them too."))
    return found


def _infra_repo(settings: Settings, folder: Path, say: Callable[[Finding], None]) -> Catalogue | None:
    try:
        infra = GitInfraRepo(
            settings.infra_repo_url,
            settings.infra_repo_branch,
            folder,
            committer=CommitAuthor("Locktender", "locktender@localhost"),
            token=settings.github_token.get_secret_value(),
        )
        tree = infra.tree(infra.refresh())
        say(Finding(Verdict.GOOD, f"infra-repo: {infra.address}, {settings.infra_repo_branch} at {tree.commit[:12]}"))
        source = tree.read("locktender.yaml")
    except Fault as fault:
        say(Finding(Verdict.BAD, fault.what, fault.next_step))
        return None
    if source is None:
        say(Finding(Verdict.BAD, "The branch has no locktender.yaml.", "Add one at the root: see docs/install.md."))
        return None
    known = read(source)
    if isinstance(known, Faults):
        for one in known.faults:
            say(Finding(Verdict.BAD, str(one)))
        return None
    say(Finding(Verdict.GOOD, f"locktender.yaml: {len(known.apps)} apps, {len(known.environments)} environments"))
    for finding in _overlays(tree, known):
        say(finding)
    return known


def _overlays(tree: Tree, known: Catalogue) -> Iterator[Finding]:
    for app in known.apps.values():
        for environment in (known.environments[name] for name in app.environments):
            candidates = known.overlays(app, environment)
            if not any(tree.entry(overlay) for overlay in candidates):
                what = f"{app.name} has no overlay for {environment.name}: looked for {' and '.join(candidates)}."
                yield Finding(Verdict.WARNING, what, "Add it, or list the app's `environments:`.")
                continue
            overlay = next(one for one in candidates if tree.entry(one))
            try:
                overlay_file(tree, overlay)
            except Fault as fault:
                yield Finding(Verdict.BAD, fault.what, fault.next_step)


def _jenkins(settings: Settings, known: Catalogue | None) -> Iterator[Finding]:
    if not settings.jenkins_url:
        return
    pipeline = JenkinsPipeline(
        settings.jenkins_url,
        settings.jenkins_user,
        settings.jenkins_token.get_secret_value(),
        ca_file=settings.jenkins_ca_file,
    )

    def answers() -> str:
        pipeline.check()
        return f"Jenkins: {settings.jenkins_url}"

    yield guarded(answers)
    if settings.jenkins_url.startswith("http://"):
        yield Finding(
            Verdict.WARNING, "Jenkins is asked over plain http: the API token can be read on the way.", "Use https."
        )
    environments = known.environments.values() if known else ()
    for job in sorted({one.reconciler.job for one in environments if one.reconciler.kind is ReconcilerKind.JENKINS}):

        def builds(job: str = job) -> str:
            pipeline.check_job(job)
            return f"Jenkins job {job}: exists and takes DEPLOYMENT_ID"

        yield guarded(builds)
    pipeline.close()


def _cluster(settings: Settings, known: Catalogue | None) -> Iterator[Finding]:
    if not settings.kubeconfig:
        return
    cluster = KubernetesCluster(settings.kubeconfig)
    environments = known.environments.values() if known else ()
    apps = tuple(known.apps.values()) if known else ()
    places = {
        (environment.context, known.workload(app, environment).namespace)
        for environment in environments
        for app in apps
        if known is not None and environment.rollout is RolloutWatch.WATCH and environment.name in app.environments
    }
    for context, namespace in sorted(places) or [("", "")]:

        def reads(context: str = context, namespace: str = namespace) -> str:
            version = cluster.check(context, namespace)
            return f"cluster {context or 'of the current context'}: {version}, namespace {namespace or '-'} is readable"

        yield guarded(reads)
    cluster.close()


def _missing(settings: Settings, known: Catalogue | None) -> Iterator[Finding]:
    environments = known.environments.values() if known else ()
    by_jenkins = [one.name for one in environments if one.reconciler.kind is ReconcilerKind.JENKINS]
    if by_jenkins and not settings.jenkins_url:
        what = f"{', '.join(by_jenkins)}: applied by Jenkins, and JENKINS_URL is not set."
        yield Finding(Verdict.BAD, what, "Set JENKINS_URL, JENKINS_USER, JENKINS_TOKEN, or `reconciler: none`.")
    watched = [one.name for one in environments if one.rollout is RolloutWatch.WATCH]
    if watched and not settings.kubeconfig:
        what = f"{', '.join(watched)}: rollouts are watched, and KUBECONFIG is not set."
        yield Finding(Verdict.BAD, what, "Set KUBECONFIG, or `rollout: none`.")
