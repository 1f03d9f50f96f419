"""Checks what a person is told about the difference between two rendered texts, and that no Secret's value is in it.

Leaves out rendering; the texts here are written by hand or generated.
"""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bot.integrations.kustomize.diff import FieldChange, ManifestDiff, diff
from bot.integrations.kustomize.manifests import ObjectRef, load
from commands.reasons import ReasonCode, Refused

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: dev
  annotations:
    example.com/owner: shop
spec:
  replicas: 2
  template:
    spec:
      containers:
      - name: proxy
        image: proxy:1
      - name: web
        image: reg.example.com/web:1.4.1
        args: [serve, --fast]
"""
SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: db, annotations: {kubectl.kubernetes.io/last-applied-configuration: '{"data": "canary-note-1"}'}}
data: {password: canary-old, user: canary-same}
stringData: {token: canary-text-1}
"""


def fields(before: str, after: str) -> tuple[FieldChange, ...]:
    (change,) = diff(before, after).changed
    return change.fields


def everything(difference: ManifestDiff) -> str:
    return repr(difference) + difference.summary() + difference.unified()


def test_an_image_that_moved_is_told_in_one_line() -> None:
    difference = diff(WEB, WEB.replace("1.4.1", "1.4.2"))
    assert difference.summary() == "1 object changed: Deployment/web in dev image 1.4.1 → 1.4.2"
    assert difference.changed[0].fields == (
        FieldChange(
            "spec.template.spec.containers[web].image", "reg.example.com/web:1.4.1", "reg.example.com/web:1.4.2"
        ),
    )


def test_an_image_from_another_place_is_told_in_full() -> None:
    summary = diff(WEB, WEB.replace("reg.example.com/web:1.4.1", "evil.example.com/web:1.4.2")).summary()
    assert "image reg.example.com/web:1.4.1 → evil.example.com/web:1.4.2" in summary


def test_a_digest_that_moved_under_the_same_tag_is_told_in_full() -> None:
    left, right = (WEB.replace("1.4.1", "1.4.1@sha256:" + digit * 64) for digit in "ab")
    assert "@sha256:aaaa" in diff(left, right).summary()


def test_an_image_is_named_before_other_fields() -> None:
    after = WEB.replace("1.4.1", "1.4.2").replace("replicas: 2", "replicas: 3")
    assert diff(WEB, after).summary().endswith("image 1.4.1 → 1.4.2 (and 1 more field)")


def test_the_same_objects_in_another_order_and_style_are_no_difference() -> None:
    other = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
    difference = diff(f"{WEB}---\n{other}", f"{other}---\n{yaml.safe_dump(yaml.safe_load(WEB))}")
    assert difference.empty
    assert difference.summary() == "Nothing changes."
    assert difference.unified() == ""


def test_objects_that_come_and_go_are_told_apart_from_changes() -> None:
    service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
    difference = diff(WEB + service, WEB.replace("name: web\n  namespace", "name: api\n  namespace"))
    assert [whole.ref.name for whole in difference.added] == ["api"]
    assert [str(whole.ref) for whole in difference.removed] == ["Service/web", "Deployment/web in dev"]
    assert difference.summary() == (
        "1 object added, 2 objects removed: new Deployment/api in dev, Service/web goes, Deployment/web in dev goes"
    )


def test_another_version_of_an_api_is_the_same_object() -> None:
    assert fields(WEB, WEB.replace("apps/v1", "apps/v1beta2")) == (
        FieldChange("apiVersion", "apps/v1", "apps/v1beta2"),
    )


def test_the_same_name_in_another_group_kind_or_namespace_is_another_object() -> None:
    for before, after in (("apps/v1", "other/v1"), ("Deployment", "StatefulSet"), ("namespace: dev", "namespace: qa")):
        difference = diff(WEB, WEB.replace(before, after))
        assert (len(difference.added), len(difference.removed), len(difference.changed)) == (1, 1, 0)


def test_containers_are_matched_by_name_and_not_by_place() -> None:
    (added,) = fields(
        WEB, WEB.replace("      - name: proxy", "      - name: new\n        image: n:1\n      - name: proxy")
    )
    assert (added.path, added.before) == ("spec.template.spec.containers[new]", None)


def test_an_order_of_named_items_that_changed_is_told() -> None:
    env = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nenv: [{name: a}, {name: b}]\n"
    assert fields(env, env.replace("{name: a}, {name: b}", "{name: b}, {name: a}"))[0].path == "env (order)"


def test_items_without_a_name_are_matched_by_place() -> None:
    (change,) = fields(WEB, WEB.replace("--fast", "--slow"))
    assert change == FieldChange("spec.template.spec.containers[web].args[1]", "--fast", "--slow")


def test_keys_with_dots_are_quoted_in_paths() -> None:
    (change,) = fields(WEB, WEB.replace("shop", "till"))
    assert change.path == 'metadata.annotations["example.com/owner"]'


def test_a_string_is_not_the_number_it_looks_like() -> None:
    assert fields(WEB, WEB.replace("replicas: 2", 'replicas: "2"'))
    assert fields(WEB.replace("2", "1"), WEB.replace("2", "true"))


def test_a_date_stays_the_text_that_kubernetes_gets() -> None:
    (change,) = fields(WEB.replace("shop", "2001-01-01"), WEB.replace("shop", "2001-01-02"))
    assert (change.before, change.after) == ("2001-01-01", "2001-01-02")


# ---------------------------------------------------------------- secrets


def test_a_secrets_values_are_never_shown() -> None:
    after = SECRET.replace("canary-old", "canary-new").replace("text-1", "text-2").replace("note-1", "note-2")
    difference = diff(SECRET, after)
    assert "canary" not in everything(difference)
    assert [change.path for change in difference.changed[0].fields] == [
        'metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]',
        "data.password",
        "stringData.token",
    ]
    assert "canary" not in everything(diff("", SECRET))
    assert "canary" not in everything(diff(SECRET, ""))


def test_a_key_that_a_secret_gains_or_loses_is_named_without_its_value() -> None:
    grown = SECRET.replace("user: canary-same", "user: canary-same, extra: canary-extra")
    assert fields(SECRET, grown) == (FieldChange("data.extra", None, "(hidden)"),)
    assert "canary" not in everything(diff(grown, SECRET))


def test_a_secret_inside_a_list_is_hidden_too() -> None:
    items = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(SECRET)]})
    assert load(items)[0].ref == ObjectRef("", "Secret", "", "db")
    assert "canary" not in everything(diff("", items))


def test_a_secret_that_is_not_made_as_it_should_be_is_hidden_too() -> None:
    odd = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\ndata: [canary-a]\n"
    assert "canary" not in everything(diff(odd, odd.replace("canary-a", "canary-b")))


# ---------------------------------------------------------------- as text


def test_the_unified_text_is_a_diff_per_object() -> None:
    text = diff(WEB, WEB.replace("1.4.1", "1.4.2")).unified()
    assert text.startswith("--- Deployment/web in dev\n+++ Deployment/web in dev\n@@")
    assert "\n-        image: reg.example.com/web:1.4.1\n" in text
    assert "\n+        image: reg.example.com/web:1.4.2\n" in text


def test_the_unified_text_is_bounded_and_says_what_is_left_out() -> None:
    many = "".join(f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{number}}}\n" for number in range(200))
    text = diff("", many).unified(most=50)
    assert len(text.splitlines()) == 50
    assert text.splitlines()[-1] == f"… {200 * 7 - 49} more lines"


def test_a_file_in_a_config_map_is_compared_line_by_line() -> None:
    before = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  f: |\n    one\n    two\n"
    assert "\n-    two\n+    three\n" in diff(before, before.replace("two", "three")).unified()


def test_a_huge_object_is_told_field_by_field() -> None:
    lines = "".join(f"  k{number}: a\n" for number in range(3000))
    before = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n{lines}"
    assert "-data.k7: a\n+data.k7: b\n" in diff(before, before.replace("k7: a", "k7: b")).unified()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", ReasonCode.RENDER_FAILED),
        ("a: " + "[" * 900 + "]" * 900, ReasonCode.RENDER_LIMIT),
        (
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            ReasonCode.RENDER_LIMIT,
        ),
    ],
)
def test_a_text_that_cannot_be_compared_is_refused(text: str, reason: ReasonCode) -> None:
    with pytest.raises(Refused) as caught:
        diff(text, WEB)
    assert caught.value.reason is reason


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, VALUES)
def test_a_difference_is_found_exactly_when_there_is_one(left: object, right: object) -> None:
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    before, after = (yaml.safe_dump(head | {"spec": value}) for value in (left, right))
    assert diff(before, after).empty == (yaml.safe_dump(left) == yaml.safe_dump(right))
    assert diff(before, before).empty
