"""Checks that whatever is wrong with `locktender.yaml` is said: its line, what is there, what would be right.

Leaves out what a right file means: `test_catalogue.py`.
"""

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.catalogue import Catalogue
from commands.catalogue_faults import CatalogueFault, Faults
from commands.catalogue_reader import read

GOOD = """\
promotion: [staging, production]
environments:
  staging: {}
  production:
    change: pull-request
    approval:
      from: [managers]
apps:
  web:
    image: registry.company.com/web
groups:
  managers: {slack: S0MANAGERS}
channels:
  deployments: C0DEPLOYMENTS
"""


def faults_of(source: str | bytes) -> list[str]:
    found = read(source.encode() if isinstance(source, str) else source)
    assert isinstance(found, Faults), "the file was taken"
    return [str(fault) for fault in found.faults]


def changed(old: str, new: str) -> str:
    """The good file with one thing replaced, which must be there."""
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def test_the_good_file_is_good() -> None:
    assert isinstance(read(GOOD.encode()), Catalogue)


def test_a_fault_says_where_what_and_what_instead() -> None:
    found = read(changed("    approval:\n", "    aproval:\n").encode())
    assert isinstance(found, Faults)
    (fault,) = found.faults
    assert fault == CatalogueFault(
        line=6,
        column=5,
        path="environments.production.aproval",
        what="is not a setting",
        instead="did you mean `approval`?",
    )
    assert (
        str(found) == "locktender.yaml:6: environments.production.aproval: is not a setting; did you mean `approval`?"
    )


def test_faults_name_the_file_that_was_read() -> None:
    found = read(b"a: 1", name="infra/locktender.yaml")
    assert isinstance(found, Faults)
    assert str(found).startswith("infra/locktender.yaml:1: ")


def test_every_fault_is_reported_at_once_in_the_order_of_the_lines() -> None:
    text = """\
promotion: [staging, prodution, staging]
environments:
  staging: {deployers: [developers], aproval: {}}
  Production: {}
apps:
  web: {image: "registry.company.com/web:1.2", channel: "#web"}
groups:
  managers: {}
channels: {}
"""
    assert faults_of(text) == [
        "locktender.yaml:1: promotion[1]: there is no environment `prodution`; write it below `environments`",
        "locktender.yaml:1: promotion[2]: `staging` is there twice; write it once",
        (
            "locktender.yaml:3: environments.staging.deployers[0]: there is no group `developers`; "
            "write `developers: {slack: S0…}` below `groups`"
        ),
        "locktender.yaml:3: environments.staging.aproval: is not a setting; did you mean `approval`?",
        (
            "locktender.yaml:4: environments.Production: `Production` cannot name an environment (lower-case letters, "
            "digits and hyphens, at most 63, with a letter or digit at both ends); write `production`, say"
        ),
        (
            "locktender.yaml:6: apps.web.image: `registry.company.com/web:1.2` is more than an image's name; "
            "write `registry.company.com/web`: versions come with each deploy"
        ),
        (
            "locktender.yaml:6: apps.web.channel: `#web` is not the id of a channel; write the channel's id, as in "
            "`C0123ABCD` (in Slack: the channel's details, at the bottom)"
        ),
        (
            "locktender.yaml:8: groups.managers: nobody is in this group; "
            "write `slack: S0123ABCD` or `members: [U0123ABCD]`"
        ),
        "locktender.yaml:9: channels.deployments: is missing; write the channel's id, as in `C0123ABCD`",
    ]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (b"", "1: the file is empty"),
        (b"# only a comment\n", "1: the file is empty"),
        (b"null", "1: the file is not a mapping"),
        (b"- a\n- b\n", "1: the file is not a mapping"),
        (b"just words", "1: the file is not a mapping"),
        (b"a: 1\nb: [1, 2\nc: 3\n", "3: this is not YAML"),
        (b"a: 1\n  b: 2\n", "2: this is not YAML"),
        (b"a: 'never closed\n", "2: this is not YAML"),
        (b"a: 1\nb: caf\xe9\n", "2: byte 0xe9 is not UTF-8"),
        ("a: 1".encode("utf-16"), "1: byte 0xff is not UTF-8"),
        (b"a:\n\tb: 1\n", "2: a tab indents this line"),
        (b"a: 1\n---\nb: 2\n", "2: a second document begins here"),
        (b"a: 1\nb: &x 2\n", "2: `&x` is an anchor"),
        (b"a: 1\nb: *x\n", "2: `*x` is an alias"),
        (b"a: !!python/object/apply:os.system [id]\n", "1: the value has a tag"),
        (b"a: !secret x\n", "1: the value has a tag"),
        ("a: 1\nb: good\u202eevil\n".encode(), "2: there is a right-to-left override (U+202E) in this line"),
        (b"a: 1\nb: \x00\n", "2: there is a null character (U+0000) in this line"),
        ("a: 1\nb: \ufffe\n".encode(), "2: there is a code that is no character (U+FFFE) in this line"),
        (b'a: "\\ud800"\n', "1: this is not YAML"),
        (b"? [a, b]\n: c\n", "1: the key is not a word"),
    ],
)
def test_what_is_not_a_plain_yaml_mapping_is_a_fault_with_its_line(source: bytes, said: str) -> None:
    assert any(fault.startswith(f"locktender.yaml:{said}") for fault in faults_of(source)), faults_of(source)


def test_a_byte_order_mark_and_windows_line_ends_are_nothing_to_complain_about() -> None:
    assert isinstance(read(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()), Catalogue)


@pytest.mark.parametrize(
    "source",
    [
        b"[" * 100_000,
        b"{a: " * 50_000,
        b"- " * 50_000,
        b"? " * 50_000,
        b"[" + b"a," * 500_000 + b"]",
        b"a: [" + b"x: {}, " * 120_000,
        b"x" * (1024 * 1024 + 1),
        b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n",
        b"a: b\n" * 200_000,
    ],
    ids=["brackets", "braces", "lists", "keys", "many", "long", "large", "bomb", "repeated"],
)
def test_a_hostile_file_is_refused_quickly_and_briefly(source: bytes) -> None:
    began = time.process_time()
    found = read(source)
    assert isinstance(found, Faults)
    assert len(str(found)) < 20_000
    assert time.process_time() - began < 3


def test_a_file_of_more_than_a_mebibyte_is_not_even_looked_at() -> None:
    padding = b"#" * (1024 * 1024 - len(GOOD))
    assert isinstance(read(GOOD.encode() + padding), Catalogue)
    (fault,) = faults_of(GOOD.encode() + padding + b"#")
    assert "the file has 1,048,577 bytes; write at most 1,048,576 bytes" in fault


def test_a_key_that_is_there_twice_says_where_it_was_first() -> None:
    text = GOOD + "apps:\n  api: {image: registry.company.com/api}\n"
    assert faults_of(text) == ["locktender.yaml:15: apps: is there twice: first in line 8; write it once"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  staging: {}", "  no: {}", 'environments.no: YAML reads `no` as true or false; write it in quotes: `"no"`'),
        ("  web:\n", "  1.10:\n", 'apps.1.10: YAML reads `1.10` as a number; write it in quotes: `"1.10"`'),
        ("  web:\n", "  0123:\n", "apps.0123: YAML reads `0123` as a number"),
        ("  web:\n", "  2024-01-01:\n", "apps.2024-01-01: YAML reads `2024-01-01` as a date"),
        ("from: [managers]", "from: [yes]", "approval.from[0]: YAML reads `yes` as true or false"),
        ("change: pull-request", "change: off", "change: YAML reads `off` as true or false"),
        ("deployments: C0DEPLOYMENTS", "deployments: 1e8", "deployments: `1e8` is not the id of a channel"),
        ("deployments: C0DEPLOYMENTS", "deployments: #deploys", "is empty (a `#` after a space begins a comment)"),
        ("image: registry.company.com/web", "image: 1_000", "apps.web.image: YAML reads `1_000` as a number"),
    ],
)
def test_what_yaml_would_read_otherwise_than_it_looks_is_noticed(old: str, new: str, said: str) -> None:
    assert any(said in fault for fault in faults_of(changed(old, new))), faults_of(changed(old, new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        # environments
        ("  staging: {}\n", "  staging: now\n", ":3: environments.staging: `now` is not a mapping"),
        (
            "change: pull-request",
            "change: comit",
            (":5: environments.production.change: `comit` is not a choice here; did you mean `commit`?"),
        ),
        (
            "change: pull-request",
            "change: commit",
            (
                ":5: environments.production.change: an approval is given to a pull "
                "request; write `change: pull-request` for production"
            ),
        ),
        (
            "    change: pull-request\n",
            "",
            ":5: environments.production.approval: an approval is given to a pull request",
        ),
        ("from: [managers]", "required: 1", "approval.from: is missing; write the groups"),
        ("from: [managers]", "from: []", "approval.from: is an empty list"),
        ("from: [managers]", "from: managers", "approval.from: `managers` is not a list; write a list"),
        ("from: [managers]", "from: [manager]", "there is no group `manager`; did you mean `managers`?"),
        ("from: [managers]", "from: [managers, managers]", "from[1]: `managers` is there twice"),
        ("from: [managers]", "from: [everyone]", "`everyone` cannot approve"),
        (
            "from: [managers]",
            "from: [managers]\n      required: 0",
            (":8: environments.production.approval.required: `0` is not a number from 1 to 20"),
        ),
        ("from: [managers]", 'from: [managers]\n      required: "2"', "required: `2` is not a number"),
        ("from: [managers]", "from: [managers]\n      required: 010", "required: `010` is not a number"),
        ("from: [managers]", "from: [managers]\n      expires_after: 4", "expires_after: `4` has no unit; write `4h`"),
        ("from: [managers]", "from: [managers]\n      expires_after: 4 hours", "`4 hours` is not a duration"),
        ("from: [managers]", "from: [managers]\n      expires_after: 0h", "`0h` is not a duration"),
        ("from: [managers]", "from: [managers]\n      expires_after: 400d", "`400d` is more than a year"),
        ("from: [managers]", "from: [managers]\n      expires_after: 99999999d", "is more than a year"),
        (
            "  staging: {}",
            "  staging: {deployers: [everyone, managers]}",
            "`everyone` makes the other groups meaningless",
        ),
        ("  staging: {}", "  staging: {deployers: []}", "deployers: is an empty list"),
        ("  staging: {}", "  staging: {deployers: manager}", "deployers: `manager` is not a list"),
        ("  staging: {}", "  staging: {namespace: Web_1}", "namespace: `Web_1` is not a name that Kubernetes allows"),
        ("  staging: {}", '  staging: {namespace: "{ap}"}', "`{ap}` is not a placeholder; did you mean `{app}`?"),
        ("  staging: {}", "  staging: {rollout: wach}", "rollout: `wach` is not a choice here; did you mean `watch`?"),
        ("  staging: {}", "  staging: {timeout: {build: soon}}", "timeout.build: `soon` is not a duration"),
        ("  staging: {}", "  staging: {timeout: {bild: 1m}}", "timeout.bild: is not a setting; did you mean `build`?"),
        ("  staging: {}", '  staging: {context: "a\\u202eb"}', "context: contains a right-to-left override (U+202E)"),
        (
            "  staging: {}",
            "  staging: {reconciler: argocd}",
            (
                ":3: environments.staging.reconciler: reconciler argocd is "
                "not supported in this version; write `jenkins` or `none`"
            ),
        ),
        ("  staging: {}", "  staging: {reconciler: {flux: {kustomization: web}}}", "reconciler flux is not supported"),
        ("  staging: {}", "  staging: {reconciler: jenkin}", "`jenkin` is not a choice here; did you mean `jenkins`?"),
        (
            "  staging: {}",
            "  staging: {reconciler: {jenkins: {job: /a}}}",
            "job: `/a` is not a Jenkins job's full name",
        ),
        ("  staging: {}", "  staging: {reconciler: {jenkins: {job: a/../b}}}", "`a/../b` is not a Jenkins job's"),
        ("  staging: {}", "  staging: {reconciler: {jenkins: {job: a?b=c}}}", "`a?b=c` is not a Jenkins job's"),
        ("  staging: {}", "  staging: {reconciler: {jenkins: {}, none: {}}}", "reconciler: 2 reconcilers are named"),
        ("  staging: {}", "  staging: {reconciler: {none: {job: x}}}", "none has no settings"),
        # promotion
        (
            "[staging, production]",
            "[staging, prod]",
            ("promotion[1]: there is no environment `prod`; did you mean `production`?"),
        ),
        ("[staging, production]", "[staging, staging]", ":1: promotion[1]: `staging` is there twice"),
        ("[staging, production]", "staging", "promotion: `staging` is not a list"),
        # apps
        (
            "    image: registry.company.com/web\n",
            "    images: registry.company.com/web\n",
            (":10: apps.web.images: is not a setting; did you mean `image`?"),
        ),
        (
            "    image: registry.company.com/web\n",
            "    aliases: [website]\n",
            (":9: apps.web.image: is missing; write the image's name, as in `image: registry.example.com/web`"),
        ),
        (
            "image: registry.company.com/web",
            "image: https://registry.company.com/web",
            "write `registry.company.com/web`",
        ),
        (
            "image: registry.company.com/web",
            "image: registry.company.com/Web",
            ("has capital letters; write `registry.company.com/web`"),
        ),
        ("image: registry.company.com/web", "image: web@sha256:" + "0" * 64, "write `web`: versions come with each"),
        ("image: registry.company.com/web", "image: registry.company.com//web", "is not an image's name"),
        ("image: registry.company.com/web", "image: [a]", "apps.web.image: is a list, not text"),
        ("    image:", "    overlay: /etc\n    image:", "apps.web.overlay: `/etc` is an absolute path"),
        ("    image:", "    overlay: a/../../b\n    image:", "`a/../../b` leaves its folder by `..`"),
        ("    image:", "    overlay: a\\b\n    image:", "has a backslash"),
        ("    image:", "    overlay: a//{environment}\n    image:", "has an empty part"),
        ("    image:", "    overlay: ./{environment}\n    image:", "has an empty part"),
        ("    image:", "    overlay: HEAD:a\n    image:", "has a colon"),
        ("    image:", "    overlay: -o/{environment}\n    image:", "has a part that begins with a hyphen"),
        ("    image:", "    overlay: .git/{environment}\n    image:", "is inside git's own folder"),
        (
            "    image:",
            '    overlay: "a/{env}"\n    image:',
            "`{env}` is not a placeholder; did you mean `{environment}`?",
        ),
        ("    image:", '    overlay: "a/{"\n    image:', "`{` is not a placeholder; use `{app}` and `{environment}`"),
        ("    image:", '    overlay: "a\\tb"\n    image:', "overlay: contains a tab"),
        (
            "    image:",
            "    overlay: apps/web\n    image:",
            (
                ":9: apps.web: staging and production have the same overlay, "
                "`apps/web`; write one that holds `{environment}`, or one for each"
            ),
        ),
        (
            "    image:",
            "    overlay: {prod: a}\n    image:",
            ("overlay.prod: there is no environment `prod`; did you mean `production`?"),
        ),
        (
            "    image:",
            "    workload: deploy/web\n    image:",
            ("`deploy/web` is no workload whose rollout can be watched; did you mean `deployment/web`?"),
        ),
        (
            "    image:",
            "    workload: cronjob/web\n    image:",
            "write `deployment/…`, `statefulset/…` or `daemonset/…`",
        ),
        ("    image:", "    workload: deployment/\n    image:", "`deployment/` does not name a workload"),
        ("    image:", '    namespace: "{app}-' + "x" * 61 + '"\n    image:', "its namespace in staging would be"),
        (
            "    image:",
            "    environments: [stagin]\n    image:",
            ("environments[0]: there is no environment `stagin`; did you mean `staging`?"),
        ),
        ("    image:", "    environments: []\n    image:", "environments: is an empty list"),
        ("    image:", "    source: http://github.com/x\n    image:", "source: this is not a plain https address"),
        ("    image:", "    source: https://github.com/x|<!channel>\n    image:", "source: this is not a plain https"),
        ("    image:", "    source: https://[::1/x\n    image:", "source: this is not a plain https address"),
        ("    image:", "    aliases: [web]\n    image:", "the alias `web` is an app already"),
        ("    image:", "    channel: deployments\n    image:", "channel: `deployments` is not the id of a channel"),
        # groups and channels
        ("{slack: S0MANAGERS}", "{slack: managers}", "slack: `managers` is not the id of a Slack user group"),
        ("{slack: S0MANAGERS}", "{members: [alice]}", "members[0]: `alice` is not the id of a Slack user"),
        ("{slack: S0MANAGERS}", "{members: [U0A, U0A]}", "members[1]: `U0A` is there twice"),
        ("{slack: S0MANAGERS}", "{github: managers}", "github: `managers` is not a GitHub team"),
        ("{slack: S0MANAGERS}", "", "groups.managers: nobody is in this group"),
        ("managers: {slack", "everyone: {slack", "`everyone` means anyone in the workspace"),
        ("deployments: C0DEPLOYMENTS", "deployments: D0DIRECT", "`D0DIRECT` is not the id of a channel"),
        ("deployments: C0DEPLOYMENTS", "deployment: C0DEPLOYMENTS", "did you mean `deployments`?"),
    ],
)
def test_one_wrong_setting_is_one_fault_that_says_what_is_right(old: str, new: str, said: str) -> None:
    assert any(said in fault for fault in faults_of(changed(old, new))), faults_of(changed(old, new))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("overlay: shared\n", "staging and production have the same overlay, `shared`"),
        (
            "reconciler: {stagin: none}\n",
            (":15: reconciler.stagin: is neither a reconciler nor an environment; did you mean `staging`?"),
        ),
        ("registries: {https://registry.company.com: {}}\n", "this is not a registry's host name"),
        (
            "registries: {registry.company.com: {url: http://registry.company.com}}\n",
            ("is not encrypted; write `https://registry.company.com`"),
        ),
        ("registries: {registry.company.com: {url: https://registry.company.com/v2}}\n", "without path or user"),
        ("registries: {registry.company.com: {url: https://registry.company.com:99999}}\n", "not the address of a"),
        (
            "people: {a: {slack: U0A}, b: {slack: U0A}}\n",
            ":15: people.b.slack: `U0A` is `a` too, in line 15; write it for one of them only",
        ),
        ("people: {a: {emails: [A@x.io]}, b: {emails: [a@X.io]}}\n", "`a@x.io` is `a` too"),
        ("people: {a: {github: -a}}\n", "github: `-a` is not a GitHub login"),
        ("people: {a: {emails: [nobody]}}\n", "emails[0]: `nobody` is not an e-mail address"),
        ("windows: {}\n", ":15: windows: is not a setting; the settings here are `promotion`"),
        ("freeze: []\n", ":15: freeze: is not a setting; did you mean `freezes`?"),
    ],
)
def test_a_wrong_setting_of_the_file_is_one_fault(more: str, said: str) -> None:
    assert any(said in fault for fault in faults_of(GOOD + more)), faults_of(GOOD + more)


def test_http_is_allowed_for_a_registry_on_this_machine() -> None:
    text = GOOD + "registries: {127.0.0.1:5000: {url: http://127.0.0.1:5000}}\n"
    assert isinstance(read(text.encode()), Catalogue)


def test_more_approvals_than_there_are_members_can_never_come_and_are_refused() -> None:
    text = changed("{slack: S0MANAGERS}", "{members: [U0A, U0B]}")
    assert isinstance(read(text.replace("[managers]", "[managers]\n      required: 2").encode()), Catalogue)
    assert faults_of(text.replace("[managers]", "[managers]\n      required: 3")) == [
        (
            "locktender.yaml:8: environments.production.approval.required: 3 must approve and only 2 can; "
            "add members, or ask for fewer"
        )
    ]


def test_nothing_is_required_of_a_group_whose_members_slack_knows() -> None:
    assert isinstance(read(changed("[managers]", "[managers]\n      required: 9").encode()), Catalogue)


def test_a_missing_setting_is_reported_for_each() -> None:
    assert [fault.split("; ")[0] for fault in faults_of("promotion: [a]\n")] == [
        "locktender.yaml:1: environments: is missing",
        "locktender.yaml:1: apps: is missing",
        "locktender.yaml:1: channels: is missing",
        "locktender.yaml:1: promotion[0]: there is no environment `a`",
    ]


def test_an_empty_environments_or_apps_is_reported() -> None:
    text = "environments:\napps: {}\nchannels: {deployments: C0A}\n"
    assert [fault.split("; ")[0] for fault in faults_of(text)] == [
        "locktender.yaml:1: environments: there is no environment",
        "locktender.yaml:2: apps: there is no app",
    ]


def test_credentials_in_an_address_are_not_repeated() -> None:
    for old, new in (
        ("image: registry.company.com/web", "image: robot:hunter2@registry.company.com/web"),
        ("    image:", "    source: https://robot:hunter2@github.com/x\n    image:"),
    ):
        assert "hunter2" not in "\n".join(faults_of(changed(old, new)))
    url = "registries: {registry.company.com: {url: https://robot:hunter2@registry.company.com}}\n"
    assert "hunter2" not in "\n".join(faults_of(GOOD + url))


def test_what_hides_or_turns_text_is_spelled_out_when_quoted() -> None:
    text = changed("    image:", '    "ch\\u202eannel`": x\n    image:')
    assert "\u202e" not in "\n".join(faults_of(text))
    assert "apps.web.ch\\u202eannel\\u0060: is not a setting" in faults_of(text)[0]


def test_of_thousands_of_faults_the_first_hundred_are_listed_and_the_rest_counted() -> None:
    found = read(GOOD.encode() + b"".join(b"x%d: 1\n" % number for number in range(5000)))
    assert isinstance(found, Faults)
    assert (len(found.faults), found.left_out) == (100, 4900)
    assert str(found).endswith("… and 4900 more")


@given(st.binary(max_size=200))
def test_no_bytes_raise(source: bytes) -> None:
    assert isinstance(read(source), Faults)


@given(st.integers(0, len(GOOD)), st.text(alphabet=string.printable + "\u202e\ud7ffé", max_size=6))
def test_no_damage_to_a_good_file_raises(at: int, damage: str) -> None:
    found = read((GOOD[:at] + damage + GOOD[at + len(damage) :]).encode())
    assert isinstance(found, Catalogue | Faults)
    if isinstance(found, Faults):
        assert all(1 <= fault.line <= GOOD.count("\n") + 8 for fault in found.faults)


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)).map(repr)
TREES = st.recursive(
    LEAVES | st.sampled_from(["staging", "jenkins", "{}", "[]", "everyone", "C0A", "4h", "''"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(
            st.tuples(st.sampled_from(["image", "from", "jenkins", "staging", "slack", "job", "overlay"]), inner),
            max_size=3,
        ).map(lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}")
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(
        [
            "promotion",
            "environments",
            "apps",
            "groups",
            "people",
            "channels",
            "registries",
            "overlay",
            "workload",
            "reconciler",
            "timeout",
            "freezes",
        ]
    ),
    TREES,
)
def test_no_shape_of_value_raises_in_any_setting(setting: str, value: str) -> None:
    lines = [line for line in GOOD.splitlines() if not line.startswith(setting)]
    found = read("\n".join([*lines, f"{setting}: {value}"]).encode(errors="replace"))
    assert isinstance(found, Catalogue | Faults)
