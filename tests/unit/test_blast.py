"""Checks what is told of a change: which places it affects, the glance, the whole text, and what is never shown.

A stand-in renders: `tests/contract/test_kustomize_blast.py` has the real one.
"""

from collections.abc import Mapping, Sequence

from bot.integrations.kustomize.blast import Impact, Place, alike, impact
from bot.integrations.kustomize.diff import diff
from bot.integrations.kustomize.fingerprint import manifests_fingerprint
from bot.integrations.kustomize.glance import glance
from commands.ports import Rendered, Tree
from commands.reasons import ReasonCode, Refused
from tests.contract.trees import MemoryTree

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  template:
    spec:
      containers:
      - name: web
        image: reg/web:1.4.1
        env: [{name: LOG, value: info}]
        resources: {limits: {memory: 256Mi}}
"""
HPA = """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: web
spec:
  maxReplicas: 6
"""
SERVICE = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  type: ClusterIP\n"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: keys\nstringData:\n  a: VALUE\n  b: constant-canary\n"


def joined(*documents: str) -> str:
    return "---\n".join(documents)


class Texts:
    """Renders what the tree has at `<overlay>/rendered`; refuses where that says `refuse`."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def key(self, tree: Tree, overlay: str) -> str:
        entry = tree.entry(f"{overlay}/rendered")
        if entry is None:
            raise Refused(ReasonCode.OVERLAY_MISSING, f"The folder `{overlay}` does not exist.", "Add it.")
        if tree.read(entry.path) == b"unreadable":
            raise Refused(ReasonCode.REMOTE_BASE, f"`{overlay}` is remote.", "Copy it.")
        return entry.object_id

    def render_many(self, tree: Tree, overlays: Sequence[str]) -> dict[str, Rendered | Refused]:
        self.asked += overlays
        return {overlay: self._one(tree, overlay) for overlay in overlays}

    def _one(self, tree: Tree, overlay: str) -> Rendered | Refused:
        try:
            self.key(tree, overlay)
        except Refused as fault:
            return fault
        text = (tree.read(f"{overlay}/rendered") or b"").decode()
        if text == "broken":
            return Refused(
                ReasonCode.RENDER_FAILED, f"kustomize could not build `{overlay}`.", "Correct it.", detail="x"
            )
        return Rendered(text, cached=False)


def tree(texts: Mapping[str, str]) -> MemoryTree:
    return MemoryTree({f"{name}/rendered": text for name, text in texts.items()})


def changed(before: Mapping[str, str], after: Mapping[str, str], renderer: Texts | None = None) -> Impact:
    places = [Place(name, "production", name) for name in sorted({*before, *after})]
    return impact(renderer or Texts(), tree(before), tree(after), places)


# ---------------------------------------------------------------- which places


def test_what_did_not_change_is_not_rendered() -> None:
    renderer = Texts()
    found = changed({"a": WEB, "b": WEB}, {"a": WEB.replace("1.4.1", "1.4.2"), "b": WEB}, renderer)
    assert renderer.asked == ["a", "a"]
    assert [effect.place.app for effect in found.effects] == ["a"]
    assert found.untouched == 1


def test_a_change_that_renders_to_the_same_affects_nobody() -> None:
    found = changed({"a": WEB}, {"a": f"{WEB}# a comment\n"})
    assert (found.effects, found.untouched) == ((), 1)


def test_the_blast_radius_is_everything_that_was_not_asked_for() -> None:
    found = changed({"a": WEB, "b": HPA}, {"a": SERVICE, "b": SERVICE})
    asked = {("a", "production")}
    assert [effect.place.app for effect in found.of(asked)] == ["a"]
    assert [effect.place.app for effect in found.radius(asked)] == ["b"]


def test_an_overlay_that_cannot_be_rendered_is_named_with_the_reason() -> None:
    for before, after in ((WEB, "broken"), ("broken", WEB)):
        (effect,) = changed({"a": before}, {"a": after}).effects
        assert effect.trouble is not None
        assert effect.summary() == "Cannot be rendered: kustomize could not build `a`."


def test_an_overlay_whose_reach_is_unknown_counts_as_affected() -> None:
    (effect,) = changed({"a": "unreadable"}, {"a": "unreadable"}).effects
    assert effect.trouble is not None
    assert effect.trouble.reason is ReasonCode.REMOTE_BASE


def test_an_overlay_that_comes_or_goes_does_so_as_a_whole() -> None:
    (come,) = changed({}, {"a": WEB}).effects
    (gone,) = changed({"a": WEB}, {}).effects
    assert (come.counts, gone.counts) == ((0, 1, 0), (0, 0, 1))


def test_a_place_without_an_overlay_on_either_side_is_untouched() -> None:
    found = impact(Texts(), tree({"x": WEB}), tree({"x": WEB}), [Place("a", "dev", "a")])
    assert (found.effects, found.untouched) == ((), 1)


def test_an_overlay_that_two_apps_share_is_told_for_both_and_rendered_once() -> None:
    renderer = Texts()
    places = [Place("web", "dev", "a"), Place("api", "dev", "a")]
    found = impact(renderer, tree({"a": WEB}), tree({"a": HPA}), places)
    assert [effect.place.app for effect in found.effects] == ["api", "web"]
    assert renderer.asked == ["a", "a"]


def test_the_same_change_elsewhere_is_one_group_whatever_the_objects_are_called() -> None:
    api = WEB.replace("metadata:\n  name: web", "metadata:\n  name: api")
    before = {"a": WEB, "b": api, "c": HPA}
    after = {"a": WEB.replace("256Mi", "512Mi"), "b": api.replace("256Mi", "512Mi"), "c": HPA.replace("6", "8")}
    groups = alike(changed(before, after).effects)
    assert [[effect.place.app for effect in group] for group in groups] == [["a", "b"], ["c"]]


# ---------------------------------------------------------------- text


def test_the_text_has_what_was_asked_for_first_and_groups_the_rest() -> None:
    after = {name: WEB.replace("256Mi", "512Mi") for name in "abc"}
    text = changed(dict.fromkeys("abc", WEB), after).text({("b", "production")})
    heads = [line for line in text.splitlines() if line.startswith("# ")]
    assert heads == ["# b in production (b)", "# also a in production, c in production"]
    assert text.count("+        resources") + text.count("memory: 512Mi") == 2


def test_a_long_text_is_cut_with_a_note() -> None:
    before = {name: joined(WEB, SERVICE) for name in "abcdef"}
    after = {name: WEB.replace("1.4.1", f"2.{name}") for name in "abcdef"}
    lines = changed(before, after).text(most=20).splitlines()
    assert len(lines) == 20
    assert lines[-1].startswith("… ")
    assert "more lines" in lines[-1]


def test_trouble_is_told_with_what_to_do() -> None:
    text = changed({"a": WEB}, {"a": "broken"}).text()
    assert "kustomize could not build `a`." in text
    assert "Correct it." in text


def test_no_change_has_no_text() -> None:
    assert changed({"a": WEB}, {"a": WEB}).text() == ""


# ---------------------------------------------------------------- glance


def test_images_come_first_then_replicas_resources_environment_and_the_rest() -> None:
    after = (
        WEB.replace("replicas: 2", "replicas: 3\n  paused: true")
        .replace("1.4.1", "1.4.2")
        .replace("info", "debug")
        .replace("256Mi", "512Mi")
    )
    lines = glance(
        diff(joined(SERVICE, HPA, WEB), joined(SERVICE.replace("ClusterIP", "NodePort"), HPA.replace("6", "8"), after))
    )
    assert lines == (
        "Deployment/web: image 1.4.1 → 1.4.2; replicas 2 → 3; limits.memory 256Mi → 512Mi; 2 more",
        "HorizontalPodAutoscaler/web: maxReplicas 6 → 8",
        "Service/web: spec.type ClusterIP → NodePort",
    )


def test_environment_variables_are_named() -> None:
    assert glance(diff(WEB, WEB.replace("info", "debug"))) == ("Deployment/web: env LOG info → debug",)


def test_at_most_so_many_lines_and_the_last_says_how_many_are_left_out() -> None:
    before = joined(*(SERVICE.replace("name: web", f"name: s{number}") for number in range(9)))
    lines = glance(diff(before, before.replace("ClusterIP", "NodePort")), 4)
    assert len(lines) == 4
    assert lines[-1] == "… and 6 more objects"


def test_a_config_map_with_a_new_hash_has_new_content() -> None:
    before = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings-4kh9dkhbm6\ndata:\n  a: b\n"
    after = before.replace("4kh9dkhbm6", "5kh9dkhbm6").replace("a: b", "a: c")
    assert glance(diff(before, after)) == ("ConfigMap/settings: new content, so a new name (settings-5kh9dkhbm6)",)


def test_an_ordinary_word_of_ten_letters_is_no_hash() -> None:
    before = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web-production\n"
    assert glance(diff(before, before.replace("production", "4kh9dkhbm6"))) == (
        "ConfigMap/web-4kh9dkhbm6: new",
        "ConfigMap/web-production: removed",
    )


def test_nothing_of_a_secret_is_shown_but_that_it_changed() -> None:
    before, after = SECRET.replace("VALUE", "old-canary"), SECRET.replace("VALUE", "new-canary")
    found = changed({"a": before}, {"a": after})
    everything = found.text() + "\n".join(found.effects[0].glance()) + found.effects[0].summary() + repr(found)
    assert "canary" not in everything
    assert found.effects[0].glance() == ("Secret/keys: stringData.a changed",)


def test_nothing_of_a_new_secret_is_shown() -> None:
    found = changed({"a": WEB}, {"a": joined(WEB, SECRET)})
    assert "canary" not in found.text() + repr(found)
    assert found.effects[0].glance() == ("Secret/keys: new",)


# ---------------------------------------------------------------- fingerprint, and the diff's short cut


def test_the_fingerprint_does_not_depend_on_order_or_spelling() -> None:
    spelled = HPA.replace("maxReplicas: 6", '"maxReplicas": 6  # six')
    assert manifests_fingerprint(joined(WEB, HPA)) == manifests_fingerprint(joined(spelled, WEB))


def test_the_fingerprint_tells_types_and_values_apart() -> None:
    prints = {manifests_fingerprint(HPA.replace("6", value)) for value in ("6", '"6"', "6.0", "true", "7")}
    assert len(prints) == 5
    assert manifests_fingerprint(joined(HPA, WEB)) not in prints


def test_equal_documents_are_left_out_of_a_comparison_wherever_they_stand() -> None:
    found = diff(joined(WEB, SERVICE, HPA), joined(HPA, SERVICE, WEB.replace("1.4.1", "1.4.2")))
    assert [str(change.ref) for change in found.changed] == ["Deployment/web"]
    assert found.changed[0].fields[0].after == "reg/web:1.4.2"
    assert (found.added, found.removed) == ((), ())


def test_the_text_of_an_object_is_made_when_it_is_asked_for_and_without_secrets() -> None:
    (change,) = diff(SECRET, SECRET.replace("VALUE", "other")).changed
    assert "canary" not in change.before + change.after
    assert change.before != change.after
