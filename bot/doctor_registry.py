"""What `locktender doctor` says of registries: each that locktender.yaml turns on, asked about one image of it."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from bot.doctor_finding import Finding, guarded
from bot.integrations.registry import Endpoint, RegistryClient
from bot.settings import Settings
from commands.catalogue import App, Catalogue
from commands.catalogue_parts import RegistryHost

NO_SUCH_TAG = "locktender-doctor"
"""A tag that need not be there: that the registry says so is answer enough."""


def look(settings: Settings, known: Catalogue | None) -> Iterator[Finding]:
    """One finding for each registry; none where no registry is asked."""
    asked: dict[RegistryHost, App] = {}
    for app in known.apps.values() if known else ():
        host = known.registry(app) if known else None
        if host is not None:
            asked.setdefault(host, app)
    for host, app in asked.items():

        def answers(host: RegistryHost = host, app: App = app) -> str:
            return _answers(settings, host, app)

        yield guarded(answers)


def _answers(settings: Settings, host: RegistryHost, app: App) -> str:
    """Asked as the bot asks: credentials go to REGISTRY_URL's host alone."""
    mine = settings.registry_url
    trusted = bool(mine) and urlsplit(mine).netloc == urlsplit(host.url).netloc
    user, password = (settings.registry_user, settings.registry_password.get_secret_value()) if trusted else ("", "")
    with RegistryClient({host.host: Endpoint(host.url, user, password)}) as client:
        client.digest(app.image, NO_SUCH_TAG)
    return f"registry {host.host}: answers about {app.image}" + ("" if user else ", without credentials")
