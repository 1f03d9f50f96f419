"""Checks rendering with the real kustomize: what it builds, what the fence stops, what is remembered, what is told.

The oracle for the editor is here too: a build after our edit equals the build of the same values written out anew.
Leaves out what is refused before rendering: see `tests/unit/test_kustomize_reach.py`.
"""

import stat
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from bot.integrations.kustomize.command import Fence, Stopped, find_command, run
from bot.integrations.kustomize.edit import set_image
from bot.integrations.kustomize.render import KustomizeRenderer, workload_images
from commands.ports import ImageEdit, Renderer
from commands.reasons import ReasonCode, Refused
from tests.contract.trees import MemoryTree

DIGEST = "sha256:" + "a1" * 32
WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      initContainers: [{name: init, image: "busybox:1"}]
      containers:
      - {name: web, image: "reg.example.com/web:1.0"}
      - {name: proxy, image: "proxy:2"}
"""
OVERLAY = "environments/dev"
FILE = f"{OVERLAY}/kustomization.yaml"


def repository(kustomization: str = "resources: [../../base]\nnamespace: dev\n") -> MemoryTree:
    return MemoryTree({"base/kustomization.yaml": "resources: [web.yaml]\n", "base/web.yaml": WEB, FILE: kustomization})


@pytest.fixture(scope="module")
def command() -> tuple[str, ...]:
    return find_command()


@pytest.fixture(scope="module")
def renderer(command: tuple[str, ...]) -> KustomizeRenderer:
    return KustomizeRenderer(command)


def refusal(renderer: Renderer, tree: MemoryTree) -> Refused:
    with pytest.raises(Refused) as caught:
        renderer.render(tree, OVERLAY)
    return caught.value


def script(folder: Path, name: str, text: str) -> Path:
    program = folder / name
    program.write_text(f"#!{sys.executable}\n{text}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


# ---------------------------------------------------------------- what is built


def test_an_overlay_is_built_as_kustomize_builds_it(renderer: KustomizeRenderer) -> None:
    rendered = renderer.render(repository(), OVERLAY)
    assert yaml.safe_load(rendered.text)["metadata"] == {"name": "web", "namespace": "dev"}


def test_an_unchanged_overlay_is_not_built_again(renderer: KustomizeRenderer) -> None:
    first = renderer.render(repository("resources: [../../base]\n"), OVERLAY)
    again = renderer.render(repository("resources: [../../base]\n").with_file("README.md", "new"), OVERLAY)
    assert (first.cached, again.cached) == (False, True)
    assert again.text == first.text


def test_a_changed_base_is_built_again(renderer: KustomizeRenderer) -> None:
    renderer.render(repository(), OVERLAY)
    changed = renderer.render(repository().with_file("base/web.yaml", WEB.replace("1.0", "1.1")), OVERLAY)
    assert not changed.cached
    assert "reg.example.com/web:1.1" in changed.text


def test_texts_that_do_not_fit_are_not_remembered(command: tuple[str, ...]) -> None:
    renderer = KustomizeRenderer(command, cache_bytes=10)
    renderer.render(repository(), OVERLAY)
    assert not renderer.render(repository(), OVERLAY).cached


def test_an_overlay_at_the_root_of_the_repository_is_built(renderer: KustomizeRenderer) -> None:
    tree = MemoryTree({"kustomization.yaml": "resources: [web.yaml]\n", "web.yaml": WEB})
    assert "kind: Deployment" in renderer.render(tree, "").text


def test_several_threads_get_the_same_text(renderer: KustomizeRenderer) -> None:
    texts: list[str] = []
    tree = repository("resources: [../../base]\nnamePrefix: shared-\n")
    threads = [threading.Thread(target=lambda: texts.append(renderer.render(tree, OVERLAY).text)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 4
    assert len(set(texts)) == 1


def test_no_more_builds_run_at_once_than_are_allowed(tmp_path: Path) -> None:
    busy = str(tmp_path / "busy")
    text = f"import os,time\nos.mkdir({busy!r})\ntime.sleep(0.05)\nos.rmdir({busy!r})\n"
    renderer = KustomizeRenderer((str(script(tmp_path, "build", text)),), parallel=1)
    trees = [repository(f"resources: [../../base]\nnamePrefix: p{number}-\n") for number in range(3)]
    ends: list[bool] = []
    threads = [
        threading.Thread(target=lambda tree=tree: ends.append(renderer.render(tree, OVERLAY).cached)) for tree in trees
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [False, False, False]  # a second one at the same time would have failed


@pytest.mark.parametrize(
    "images",
    [
        "",
        "images: []\n",
        "images:\n- name: proxy\n  newTag: '3'\n",
        f"images:\n- digest: {DIGEST}\n  name: reg.example.com/web # pin\n",
        "images:\n- name: reg.example.com/web\n  newName: mirror.example.com/web\n  newTag: 1.10\n  tagSuffix: -eu\n",
        'images: [{name: proxy, newTag: "3"}, {name: "reg.example.com/web", newTag: old}]\n',
    ],
)
@pytest.mark.parametrize("edit", [("1.10", ""), ("", DIGEST), ("no", DIGEST)])
def test_a_build_after_an_edit_equals_the_build_of_the_values_written_anew(
    renderer: KustomizeRenderer, images: str, edit: tuple[str, str]
) -> None:
    tag, digest = edit
    text = f"# ours\nresources:\n- ../../base\n{images}"
    ours = set_image(text.encode(), ImageEdit("reg.example.com/web", tag, digest))
    values = yaml.safe_load(text)
    entry = {"name": "reg.example.com/web"} | ({"newTag": tag} if tag else {}) | ({"digest": digest} if digest else {})
    others = []
    for item in values.get("images") or []:
        if item["name"] == entry["name"]:
            entry |= {"newName": item["newName"]} if "newName" in item else {}
        else:
            others.append(item)
    values["images"] = [*others, entry]
    theirs = yaml.safe_dump(values)
    assert renderer.render(repository(ours.decode()), OVERLAY).text == renderer.render(repository(theirs), OVERLAY).text


# ---------------------------------------------------------------- what goes wrong


def test_a_build_that_fails_is_told_in_kustomizes_words_without_our_paths(renderer: KustomizeRenderer) -> None:
    fault = refusal(renderer, repository("resources: [gone.yaml]\n"))
    assert fault.reason is ReasonCode.RENDER_FAILED
    assert OVERLAY in fault.what
    assert "gone.yaml" in fault.detail
    assert "locktender-render" not in fault.detail
    assert "/tmp" not in fault.detail


def test_a_warning_is_not_taken_for_the_fault(renderer: KustomizeRenderer) -> None:
    fault = refusal(renderer, repository("bases: [../../base]\nnonsense: 1\n"))
    assert 'unknown field "nonsense"' in fault.detail
    assert "deprecated" not in fault.detail


def test_a_file_outside_of_the_overlays_folder_is_refused_by_kustomize_itself(renderer: KustomizeRenderer) -> None:
    fault = refusal(renderer, repository("resources: [../../base/web.yaml]\n"))
    assert fault.reason is ReasonCode.RENDER_FAILED
    assert "is not in or below" in fault.detail


def test_a_remote_base_never_starts_a_build(tmp_path: Path) -> None:
    program = script(tmp_path, "build", f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    fault = refusal(KustomizeRenderer((str(program),)), repository("resources: ['https://example.com/x']\n"))
    assert fault.reason is ReasonCode.REMOTE_BASE
    assert not (tmp_path / "ran").exists()


def test_a_symbolic_link_below_the_overlay_is_refused(renderer: KustomizeRenderer) -> None:
    tree = MemoryTree({FILE: "resources: []\n"}, {f"{OVERLAY}/deep/secret": "/etc/shadow"})
    assert refusal(renderer, tree).reason is ReasonCode.OVERLAY_UNSAFE


def bomb() -> str:
    lines = ["apiVersion: example.com/v1", "kind: Foo", "metadata: {name: x}", "a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, after in zip("abcdefg", "bcdefgh", strict=True):
        lines.append(f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]")
    return "\n".join(lines) + "\n"


def test_an_alias_bomb_is_stopped_by_the_memory_it_may_use(command: tuple[str, ...]) -> None:
    renderer = KustomizeRenderer(command, fence=Fence(memory=1200 * 1024**2))
    tree = repository("resources: [bomb.yaml]\n").with_file(f"{OVERLAY}/bomb.yaml", bomb())
    fault = refusal(renderer, tree)
    assert fault.reason is ReasonCode.RENDER_LIMIT
    assert "memory" in fault.what
    assert "1,200 MiB" in fault.what


def test_a_build_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    child = f"import os,time\nopen({str(tmp_path / 'child')!r},'w').write(str(os.getpid()))\ntime.sleep(60)"
    program = script(
        tmp_path,
        "build",
        f"import subprocess,sys,time\nsubprocess.Popen([sys.executable,'-c',{child!r}])\ntime.sleep(60)\n",
    )
    fault = refusal(KustomizeRenderer((str(program),), fence=Fence(seconds=0.7)), repository())
    assert fault.reason is ReasonCode.RENDER_LIMIT
    assert "0.7 seconds" in fault.what
    pid = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_build_that_prints_without_end_is_stopped(tmp_path: Path) -> None:
    program = script(tmp_path, "build", "while True: print('a: b' * 1000)\n")
    fault = refusal(KustomizeRenderer((str(program),), fence=Fence(output=100_000)), repository())
    assert fault.reason is ReasonCode.RENDER_LIMIT
    assert "printed" in fault.what


def test_a_build_that_the_system_kills_has_met_a_limit(tmp_path: Path) -> None:
    program = script(tmp_path, "build", "import os\nos.kill(os.getpid(), 9)\n")
    assert run((str(program),), tmp_path, Fence()).stopped is Stopped.MEMORY


def test_a_full_error_pipe_blocks_nothing(tmp_path: Path) -> None:
    program = script(tmp_path, "build", "import sys\nsys.stderr.write('x' * 1_000_000)\nprint('ok')\n")
    finished = run((str(program),), tmp_path, Fence(seconds=10))
    assert (finished.code, finished.stdout, finished.stopped) == (0, b"ok\n", None)


def test_a_build_that_closes_its_output_and_stays_is_ended(tmp_path: Path) -> None:
    program = script(tmp_path, "build", "import os,time\nos.close(1)\nos.close(2)\ntime.sleep(60)\n")
    assert run((str(program),), tmp_path, Fence()).stopped is Stopped.TIME


def test_a_build_knows_no_token_and_finds_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-canary")
    program = script(tmp_path, "build", "import os\nprint(dict(os.environ))\n")
    told = run((str(program),), tmp_path, Fence()).stdout.decode()
    assert "canary" not in told
    assert "'PATH': '/nonexistent'" in told
    assert f"'HOME': '{tmp_path}'" in told


# ---------------------------------------------------------------- which program


def test_kubectl_beside_python_is_preferred_to_an_old_one_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path, "kubectl", 'print(\'{"clientVersion": {"gitVersion": "v1.20.2"}}\')\n')
    script(tmp_path, "kustomize", "print('{Version:kustomize/v3.8.7}')\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert str(tmp_path) not in find_command()[0]


def test_a_standalone_kustomize_is_preferred_because_it_starts_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = script(tmp_path, "kustomize", "print('v5.8.1')\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_command() == (str(program), "build")


def test_a_machine_without_a_program_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, "kubectl", 'print(\'{"kustomizeVersion": "v4.5.7"}\')\n')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(Refused) as caught:
        find_command()
    assert caught.value.reason is ReasonCode.NOT_CONFIGURED
    assert "locktender[kubectl]" in caught.value.next_step


# ---------------------------------------------------------------- what runs in it


def test_the_images_of_a_workload_are_read_from_the_text(renderer: KustomizeRenderer) -> None:
    text = renderer.render(repository(), OVERLAY).text
    images = {"web": "reg.example.com/web:1.0", "proxy": "proxy:2"}
    assert workload_images(text, "deployment", "web", "dev") == images
    assert workload_images(text, "Deployment", "web") == images
    assert workload_images(text, "deployment", "web", "prod") is None
    assert workload_images(text, "statefulset", "web") is None
    assert workload_images(text, "deployment", "api") is None
    assert workload_images(WEB, "deployment", "web", "anything") == images


def test_the_folder_of_a_build_is_gone_afterwards(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    renderer = KustomizeRenderer(command)
    renderer.render(repository(), OVERLAY)
    with pytest.raises(Refused):
        renderer.render(repository().with_file(f"{OVERLAY}/kustomization.yaml", "resources: [nothing]\n"), OVERLAY)
    deadline = time.monotonic() + 30  # it is taken away in the background
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []
