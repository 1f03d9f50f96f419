"""The infra-repo of the rig: `locktender.yaml`, two apps, three environments, who is who, and what builds it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.integrations.kustomize.edit import read_image
from bot.integrations.kustomize.reach import ReachIndex
from commands.ports import Rendered, Tree
from commands.reasons import ReasonCode, Refused

CHANNEL = "C0DEPLOYMENTS"
APPS = ("web", "api")
ENVIRONMENTS = ("staging", "preprod", "production")
REVIEWED = ("preprod", "production")
VERSIONS = ("1.0", "1.1", "1.2")

ANN, ANN_AGAIN, ROB, RHEA, PAT, STRANGER = "U0ANN", "U0ANN2", "U0ROB", "U0RHEA", "U0PAT", "U0OUT"
PEOPLE: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "ann": ((ANN, ANN_AGAIN), ("ann",), ("ann@example.com",)),
    "rob": ((ROB,), ("rob",), ("rob@example.com",)),
    "rhea": ((RHEA,), ("rhea",), ("rhea@example.com",)),
    "pat": ((PAT,), ("pat",), ("pat@example.com",)),
}
"""Who is who: Slack ids, logins, addresses. The stranger is in no list."""
USERS = (ANN, ANN_AGAIN, ROB, RHEA, PAT, STRANGER)
LOGINS = ("ann", "rob", "rhea", "pat", "mallory")


@dataclass(frozen=True)
class Rules:
    """The parts of `locktender.yaml` that tests change. `platform` are Slack ids; the managers are a Slack group."""

    required: int = 1
    platform: tuple[str, ...] = (PAT,)
    expires: str = "4h"
    frozen: bool = False
    deployers: str = "everyone"
    sound: bool = True

    @property
    def text(self) -> str:
        """The file."""
        people = "".join(
            f"  {name}: {{slack: [{', '.join(slack)}], github: [{', '.join(logins)}], emails: [{', '.join(mails)}]}}\n"
            for name, (slack, logins, mails) in PEOPLE.items()
        )
        approval = f"from: [managers, platform], required: {self.required}, expires_after: {self.expires}"
        glass = "break_glass: {from: [platform], review_within: 24h}"
        rest = "reconciler: none, rollout: none, verify: {url: 'https://health.example/{app}', timeout: 1m}"
        freeze = (
            "freezes:\n  - {name: audit, environments: [preprod], timezone: UTC, from: '2026-03-01T00:00', "
            "until: '2026-06-30T00:00'}\n"
            if self.frozen
            else ""
        )
        return (
            "promotion: [staging, production]\n"
            "environments:\n"
            f"  staging: {{{rest}}}\n"
            f"  preprod: {{change: pull-request, {rest}, {glass},\n"
            f"    approval: {{{approval}, accept: both, rollback_required: 1}}}}\n"
            f"  production: {{change: pull-request, {rest}, {glass}, on_failure: rollback,\n"
            f"    deployers: [{self.deployers}],\n"
            f"    approval: {{{approval}, accept: slack, rollback_required: 1}}}}\n"
            "apps:\n"
            + "".join(f"  {app}: {{image: registry.example/{app}}}\n" for app in APPS)
            + "groups:\n  managers: {slack: S0MANAGERS, github: example/managers}\n"
            + f"  platform: {{members: [{', '.join(self.platform)}]}}\n"
            + f"people:\n{people}channels: {{deployments: {CHANNEL}}}\n{freeze}"
            + ("" if self.sound else "nonsense: here\n")
        )


def overlay_path(app: str, environment: str) -> str:
    return f"apps/{app}/overlays/{environment}/kustomization.yaml"


def base_path(app: str) -> str:
    return f"apps/{app}/base/deployment.yaml"


def first_files() -> dict[str, bytes]:
    """The infra-repo at the start."""
    files = {"locktender.yaml": Rules().text, "README.md": "The infra-repo\n"}
    files["platform/kustomization.yaml"] = "resources: [quota.yaml]\n"
    files["platform/quota.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: quota}\ndata: {n: '1'}\n"
    for app in APPS:
        files[f"apps/{app}/base/kustomization.yaml"] = "resources: [deployment.yaml, ../../../platform]\n"
        files[base_path(app)] = (
            f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {app}}}\nspec:\n  replicas: 1\n"
            f"  template: {{spec: {{containers: [{{name: {app}, image: registry.example/{app}}}]}}}}\n"
        )
        for environment in ENVIRONMENTS:
            files[overlay_path(app, environment)] = (
                f"resources: [../../base]\n# {environment}\n# settings: 0\n# of {app}\nimages:\n"
                f'- name: registry.example/{app}\n  newTag: "0.9"\n'
            )
    return {path: text.encode() for path, text in files.items()}


class Kustomize:
    """Builds these overlays: everything that the base names, with the image of the overlay."""

    def render(self, tree: Tree, overlay: str) -> Rendered:
        app = overlay.split("/")[1]
        kustomization = tree.read(f"{overlay}/kustomization.yaml") or b""
        image = read_image(kustomization, f"registry.example/{app}", path=overlay)
        base, quota = tree.read(base_path(app)), tree.read("platform/quota.yaml")
        if base is None or quota is None or image is None:
            raise Refused(ReasonCode.RENDER_FAILED, f"`{overlay}` cannot be built.", "Mend its base.")
        settings = [line for line in kustomization.decode().splitlines() if line.startswith("# settings")]
        text = "".join(f"{line}\n" for line in base.decode().splitlines() if not line.startswith("#"))
        text = text.replace(f"image: registry.example/{app}", f"image: '{image}'")
        note = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: s}}\ndata: {{s: '{settings}'}}\n".replace("'[", "[")
        return Rendered(f"{text}---\n{quota.decode()}---\n{note}".replace("]'", "]"), cached=False)

    def key(self, tree: Tree, overlay: str) -> str:
        return ReachIndex().reach(tree, overlay).key

    def render_many(self, tree: Tree, overlays: Sequence[str]) -> dict[str, Rendered | Refused]:
        built: dict[str, Rendered | Refused] = {}
        for overlay in overlays:
            try:
                built[overlay] = self.render(tree, overlay)
            except Refused as fault:
                built[overlay] = fault
        return built
