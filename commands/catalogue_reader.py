"""Reads `locktender.yaml`: bytes in, a `Catalogue` or every fault out. Pure: no file, no network, no exception."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from urllib.parse import urlsplit

from commands import catalogue_grammar as shapes
from commands import grammar
from commands.catalogue import Catalogue
from commands.catalogue_audit import AuditRules, read_audit
from commands.catalogue_environments import Known, read_environments, read_timeouts
from commands.catalogue_faults import Faults, Report, did_you_mean, quoted
from commands.catalogue_freezes import Places, read_freezes
from commands.catalogue_parts import App, Channels, Environment, RegistryHost, Timeouts, Workload
from commands.catalogue_people import Circle, read_groups, read_people
from commands.catalogue_values import Section, Value
from commands.catalogue_verify import read_app_verify
from commands.catalogue_yaml import compose

_SETTINGS = (
    "promotion",
    "environments",
    "apps",
    "groups",
    "people",
    "freezes",
    "channels",
    "audit",
    "registries",
    "overlay",
    "workload",
    "reconciler",
    "timeout",
)
_APP_SETTINGS = (
    "image",
    "overlay",
    "workload",
    "namespace",
    "environments",
    "channel",
    "source",
    "aliases",
    "verify",
)
_HUB_API = "https://registry-1.docker.io"


def read(source: bytes, *, name: str = "locktender.yaml") -> Catalogue | Faults:
    """The catalogue that these bytes say, or everything that is wrong with them. `name` is the file's, for faults."""
    report = Report(name)
    root = compose(source, report)
    if root is None:
        return report.faults()
    found = _catalogue(Value(root, "", report))
    return report.faults() if len(report) or found is None else found


def _catalogue(root: Value) -> Catalogue | None:
    if not root.is_mapping:
        root.fault("the file is not a mapping", "write at least `environments`, `apps` and `channels`")
        return None
    top = root.section(_SETTINGS)
    circle = Circle(read_groups(top.get("groups")), read_people(top.get("people")))
    known = Known(circle, read_timeouts(top.get("timeout"), Timeouts()), top.get("reconciler"))
    environments = read_environments(top.need("environments", "write at least one, as in `staging: {}`"), known)
    workload = top.read("workload", shapes.workload) or Workload()
    apps = _apps(
        top.need("apps", "write at least one, as in `web: {image: registry.example.com/web}`"), environments, workload
    )
    channels = _channels(top)
    catalogue = Catalogue(
        promotion=top.read("promotion", lambda value: _environment_names(value, environments)) or (),
        environments=MappingProxyType(environments),
        apps=MappingProxyType({name: app for name, (app, _) in apps.items()}),
        groups=MappingProxyType(circle.groups),
        channels=channels,
        people=MappingProxyType(circle.people),
        registries=MappingProxyType(_registries(top.get("registries"))),
        overlay=top.read("overlay", shapes.overlay) or "",
        freeze_windows=read_freezes(top.get("freezes"), Places(environments, apps)),
        audit=top.read("audit", lambda value: read_audit(value, circle)) or AuditRules(),
    )
    _look_at_names(apps)
    _look_at_overlays(catalogue, apps)
    _look_at_workloads(catalogue, apps)
    _look_at_addresses(catalogue, apps)
    return catalogue


def _channels(top: Section) -> Channels:
    value = top.need("channels", "write `channels: {deployments: C0123ABCD}`")
    section = value.section(("deployments",)) if value else None
    setting = section.need("deployments", "write the channel's id, as in `C0123ABCD`") if section else None
    return Channels((shapes.channel(setting) if setting else None) or "")


def _registries(value: Value | None) -> dict[str, RegistryHost]:
    found: dict[str, RegistryHost] = {}
    for key, setting in value.entries("registry.example.com: {}") if value else []:
        host = key.text("registry.example.com")
        if host is None:
            continue
        if not grammar.is_host(host):
            key.fault("this is not a registry's host name", "write it as images do, as in `registry.example.com`")
            continue
        url = setting.section(("url",)).read("url", partial(shapes.registry_url, host=host))
        usual = _HUB_API if host == grammar.DOCKER_HUB else f"https://{host}"
        found[host] = RegistryHost(host, url or usual)
    return found


def _environment_names(value: Value, environments: Mapping[str, Environment]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for item in value.items("[dev, staging, production]"):
        name = item.text("staging")
        if name is None:
            continue
        if name in names:
            item.fault(f"{quoted(name)} is there twice", "write it once")
        elif name not in environments:
            guesses = grammar.nearest(name, environments, 1)
            item.fault(
                f"there is no environment {quoted(name)}", did_you_mean(guesses, "write it below `environments`")
            )
        else:
            names[name] = None
    return tuple(names)


def _apps(
    value: Value | None, environments: Mapping[str, Environment], workload: Workload
) -> dict[str, tuple[App, Value]]:
    found: dict[str, tuple[App, Value]] = {}
    entries = value.entries("web: {image: registry.example.com/web}") if value else []
    if value and not entries and (value.is_empty or value.is_mapping):
        value.fault("there is no app", "write at least one, as in `web: {image: registry.example.com/web}`")
    for key, setting in entries:
        name = key.name("an app")
        if name is not None:
            found[name] = (_app(name, setting, environments, workload), setting)
    return found


def _app(name: str, value: Value, environments: Mapping[str, Environment], workload: Workload) -> App:
    section = value.section(_APP_SETTINGS)
    image = section.need("image", f"write the image's name, as in `image: registry.example.com/{name}`")
    overlay = section.get("overlay")
    one_for_each = overlay is not None and overlay.is_mapping
    return App(
        name=name,
        image=(shapes.image(image) if image else None) or "",
        environments=section.read("environments", lambda setting: _environment_names(setting, environments))
        or tuple(environments),
        workload=section.read("workload", shapes.workload) or workload,
        overlay=("" if one_for_each else section.read("overlay", shapes.overlay)) or "",
        overlays=MappingProxyType(_overlays(overlay, environments) if overlay and one_for_each else {}),
        namespace=section.read("namespace", shapes.namespace) or "",
        channel=section.read("channel", shapes.channel) or "",
        source=section.read("source", shapes.link) or "",
        aliases=section.read("aliases", _aliases) or (),
        verify=section.read("verify", read_app_verify),
    )


def _aliases(value: Value) -> tuple[str, ...]:
    return tuple(alias for item in value.items("[website]") if (alias := item.name("an app")))


def _overlays(value: Value, environments: Mapping[str, Environment]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, setting in value.entries("staging: apps/web/staging"):
        name = str(key.node.value)
        if name not in environments:
            guesses = grammar.nearest(name, environments, 1)
            key.fault(f"there is no environment {quoted(name)}", did_you_mean(guesses, "write it below `environments`"))
        elif path := shapes.overlay(setting):
            found[name] = path
    return found


def _look_at_names(apps: Mapping[str, tuple[App, Value]]) -> None:
    taken = dict.fromkeys(apps, "an app")
    for app, value in apps.values():
        for alias in app.aliases:
            if alias in taken:
                value.fault(f"the alias {quoted(alias)} is {taken[alias]} already", "write another alias")
            taken[alias] = f"an alias of {app.name}"


def _look_at_overlays(catalogue: Catalogue, apps: Mapping[str, tuple[App, Value]]) -> None:
    """One folder for two environments would put every deployment to the one into the other as well."""
    owner: dict[str, str] = {}
    for app, value in apps.values():
        for name in app.environments:
            for path in catalogue.overlays(app, catalogue.environments[name]):
                other = owner.setdefault(path, name)
                if other != name:
                    what = f"{other} and {name} have the same overlay, {quoted(path)}"
                    value.fault(what, "write one that holds `{environment}`, or one for each")
                    return


def _look_at_workloads(catalogue: Catalogue, apps: Mapping[str, tuple[App, Value]]) -> None:
    """Placeholders make names longer: what they come to must still be names."""
    for app, value in apps.values():
        for name in app.environments:
            workload = catalogue.workload(app, catalogue.environments[name])
            for what, text in (("workload", workload.name), ("namespace", workload.namespace)):
                if not grammar.NAME.fullmatch(text):
                    value.fault(f"its {what} in {name} would be {quoted(text)}", "write a shorter one")


def _look_at_addresses(catalogue: Catalogue, apps: Mapping[str, tuple[App, Value]]) -> None:
    """As for workloads: a part of a host name has at most 63 characters."""
    for app, value in apps.values():
        for name in app.environments:
            verify = catalogue.verify(app, catalogue.environments[name])
            host = urlsplit(verify.url).hostname if verify else None
            if host and any(len(label) > 63 for label in host.split(".")):
                what = f"its health in {name} would be asked of {quoted(host)}, which no host can be called"
                value.fault(what, "write an address with shorter parts")
