"""The clients of the registries that the catalogue names, made when an app asks for one."""

from urllib.parse import urlsplit

from bot.integrations.registry import Endpoint, RegistryClient
from bot.settings import Settings
from commands.catalogue import App, Catalogue
from commands.ports import Registry


class Registries:
    """One client for each address, kept. Credentials go to REGISTRY_URL's host alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: dict[tuple[str, str], RegistryClient] = {}

    def of(self, known: Catalogue, app: App) -> Registry | None:
        """The client for an app's registry; None when the catalogue does not turn that on."""
        host = known.registry(app)
        if host is None:
            return None
        key = (host.host, host.url)
        if key not in self._clients:
            mine = self._settings.registry_url
            trusted = bool(mine) and urlsplit(mine).netloc == urlsplit(host.url).netloc
            user = self._settings.registry_user if trusted else ""
            password = self._settings.registry_password.get_secret_value() if trusted else ""
            self._clients[key] = RegistryClient({host.host: Endpoint(host.url, user, password)})
        return self._clients[key]

    def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            client.close()
