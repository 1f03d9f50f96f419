"""The infra-repo adapter attacked: names, paths, trees and servers that mean harm, and secrets that must not get out.

Left out: what kustomize would follow (its renderer's own tests), and what a person may type (the grammar's).
"""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.integrations.git import names
from bot.integrations.infra_repo import GitInfraRepo
from bot.sandbox.server import Fault, Misbehaviour
from commands import reasons
from commands.ports import CommitRequest
from commands.reasons import ReasonCode, Refused, Retry
from tests.contract.git_rig import ALICE, BOT, DEV, TOKEN, Rig, bump, edit_to, git, request


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as rig:
        rig.outside({DEV: 'newTag: "1.0"\n'}, "start")
        yield rig


@pytest.fixture
def repo(rig: Rig) -> GitInfraRepo:
    return rig.repo(rig.file_url)


def test_a_protected_branch_says_so_in_the_servers_words(rig: Rig) -> None:
    rig.server.protect("acme/infra", "main")
    with pytest.raises(Refused) as refusal:
        rig.repo().ensure_commit(request("d1"), bump("1.1"))
    assert refusal.value.reason is ReasonCode.BRANCH_PROTECTED
    assert "GH006: Protected branch update failed for refs/heads/main." in refusal.value.detail
    assert rig.commits_of("d1") == []


def test_a_hook_that_declines_is_quoted_without_its_control_characters(rig: Rig, repo: GitInfraRepo) -> None:
    hook = rig.bare / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nprintf 'ticket \\033[31mmissing\\n' >&2\nexit 1\n")
    with pytest.raises(Refused) as refusal:
        repo.ensure_commit(request("d1"), bump("1.1"))
    assert refusal.value.reason is ReasonCode.PUSH_REFUSED
    assert "missing" in refusal.value.detail
    assert "\x1b" not in refusal.value.detail


def test_a_wrong_token_is_refused_and_never_repeated(rig: Rig) -> None:
    wrong = "ghs_wrong_canary"
    for url in (rig.url, rig.url.replace("://", f"://someone:{wrong}@")):
        with pytest.raises(Refused) as refusal:
            rig.repo(url, token=wrong if url == rig.url else "").refresh()
        assert refusal.value.reason is ReasonCode.REPO_CREDENTIALS
        assert wrong not in _everything(refusal.value)


def test_credentials_in_the_address_are_used_and_hidden(rig: Rig) -> None:
    repo = rig.repo(rig.url.replace("://", f"://someone:{TOKEN}@"), token="")
    assert repo.refresh() == rig.log("%H")[0]
    assert TOKEN not in repo.address
    assert TOKEN not in repr(vars(repo)) + repr(names.remote(f"https://u:{TOKEN}@example.com/a.git"))


def test_the_token_is_in_no_command_line_and_in_no_file(rig: Rig) -> None:
    secrets = [TOKEN.encode(), *(secret.encode() for secret in names.remote(rig.url, token=TOKEN).secrets)]
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    seen.add((process / "cmdline").read_bytes())
                except OSError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        repo = rig.repo()
        repo.refresh()
        repo.ensure_commit(request("d1"), bump("1.1"))
    finally:
        done.set()
        watcher.join()
    assert any(b"git-remote-http" in words or b"remote-http" in words for words in seen)
    assert not [words for words in seen if any(secret in words for secret in secrets)]
    for place in (rig.root / "home").rglob("*"):
        assert place.is_dir() or not any(secret in place.read_bytes() for secret in secrets)


def test_a_repository_that_is_not_there_is_named(rig: Rig) -> None:
    with pytest.raises(Refused) as refusal:
        rig.repo(rig.url.replace("infra", "nothing")).refresh()
    assert refusal.value.reason is ReasonCode.REPO_MISSING
    with pytest.raises(Refused) as refusal:
        rig.repo("file:///nonexistent/infra.git", home="other").refresh()
    assert refusal.value.reason is ReasonCode.REPO_MISSING


def test_an_empty_repository_and_a_missing_branch_say_what_to_do(rig: Rig) -> None:
    empty = rig.server.create("acme/empty")
    for repo in (rig.repo(f"file://{empty}"), rig.repo(rig.file_url, branch="production")):
        with pytest.raises(Refused) as refusal:
            repo.ensure_commit(request("d1"), bump("1.1"))
        assert refusal.value.reason is ReasonCode.BRANCH_MISSING
        assert "INFRA_REPO_BRANCH" in refusal.value.next_step


def test_a_branch_that_vanished_is_missing(rig: Rig, repo: GitInfraRepo) -> None:
    repo.refresh()
    git("update-ref", "-d", "refs/heads/main", cwd=rig.bare)
    with pytest.raises(Refused) as refusal:
        repo.ensure_commit(request("d1"), bump("1.1"))
    assert refusal.value.reason is ReasonCode.BRANCH_MISSING


@pytest.mark.parametrize(
    ("kind", "status"), [(Misbehaviour.REFUSE, 503), (Misbehaviour.RATE_LIMIT, 429), (Misbehaviour.DROP_BEFORE, 0)]
)
def test_a_server_in_trouble_is_tried_again(rig: Rig, kind: Misbehaviour, status: int) -> None:
    repo = rig.repo()
    rig.faults.add(Fault("*", "", kind, times=4, status=status))
    with pytest.raises(Retry) as fault:
        repo.refresh()
    assert fault.value.reason is ReasonCode.REPO_UNREACHABLE
    rig.faults.clear()
    assert repo.refresh() == rig.log("%H")[0]


def test_a_redirect_is_news_for_a_person_and_gets_no_token(rig: Rig) -> None:
    rig.faults.add(Fault("GET", "info/refs", Misbehaviour.REFUSE, status=301))
    with pytest.raises(Refused) as refusal:
        rig.repo().refresh()
    assert refusal.value.reason is ReasonCode.REPO_MISSING


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch /tmp/owned",
        "ext::sh -c touch% /tmp/owned",
        "ssh://-oProxyCommand=touch/x",
        "-oProxyCommand=x:y",
        "git@-oProxyCommand=x:y",
        "git@host:-x",
        "http://git.example.com/a.git",
        "ftp://example.com/a.git",
        "git://example.com/a.git",
        "https://example.com/a.git\n--x",
        "https://example.com:port/a.git",
        "https://example.com/a.git?token=x",
        "file://host/a.git",
        "../infra.git",
        "",
    ],
)
def test_hostile_addresses_are_refused_at_the_start(url: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        GitInfraRepo(url, "main", tmp_path, committer=BOT)
    assert refusal.value.reason is ReasonCode.NOT_CONFIGURED


@pytest.mark.parametrize(
    "branch", ["--upload-pack=x", "-x", "a..b", "a b", "a:b", "main\n", "+main", "a.lock", "a/", "@{u}", "", "x" * 300]
)
def test_hostile_branches_are_refused_at_the_start(branch: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        GitInfraRepo("/srv/infra.git", branch, tmp_path, committer=BOT)
    assert refusal.value.reason is ReasonCode.NOT_CONFIGURED


@pytest.mark.parametrize("text", ["--all", "d1\n", "d1 .*", "../d1", "", "d" * 200, "é"])
def test_hostile_deployment_ids_are_refused(repo: GitInfraRepo, text: str) -> None:
    with pytest.raises(Refused):
        repo.find_commit(text)
    with pytest.raises(Refused):
        repo.ensure_commit(CommitRequest(text, "s", ALICE, (("Deployment-Id", text),)), bump("1"))


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a//b",
        "a/./b",
        ".git/config",
        "a/.GIT/hooks/x",
        "a\nb",
        "a\x00b",
        "x/" * 2100,
    ],
)
def test_hostile_paths_are_refused(repo: GitInfraRepo, path: str) -> None:
    tree = repo.tree(repo.refresh())
    asks = (
        lambda: tree.entry(path),
        lambda: tree.entries(path),
        lambda: tree.read(path),
        lambda: tree.export([path], Path("/nonexistent")),
        lambda: repo.ensure_commit(request("d1"), lambda _: {path: b"x"}),
        lambda: repo.commits_since(None, (path,)),
    )
    for ask in asks:
        with pytest.raises(Refused) as refusal:
            ask()
        assert refusal.value.reason is ReasonCode.OVERLAY_UNSAFE


@pytest.mark.parametrize("commit", ["HEAD", "--help", "main", "0" * 39, "0" * 40 + "\n", ""])
def test_commits_are_named_by_full_ids_only(repo: GitInfraRepo, commit: str) -> None:
    with pytest.raises(Refused) as refusal:
        repo.tree(commit)
    assert refusal.value.reason is ReasonCode.UNKNOWN_VERSION


def test_a_commit_that_was_never_fetched_is_unknown(repo: GitInfraRepo) -> None:
    repo.refresh()
    with pytest.raises(Refused) as refusal:
        repo.tree("0" * 40).read(DEV)
    assert refusal.value.reason is ReasonCode.UNKNOWN_VERSION


def test_a_symbolic_link_is_neither_read_nor_written_nor_exported(rig: Rig, repo: GitInfraRepo, tmp_path: Path) -> None:
    rig.outside({"environments/link": "/etc", "environments/prod.yaml": "/etc/passwd"}, mode="120000")
    tree = repo.tree(repo.refresh())
    assert tree.entry("environments/link/passwd") is None
    link = tree.entry("environments/prod.yaml")
    assert link is not None
    assert (link.mode, link.kind) == ("120000", "blob")
    asks = (
        lambda: tree.read("environments/prod.yaml"),
        lambda: tree.read("environments/link/passwd"),
        lambda: tree.read_many([DEV, "environments/prod.yaml"]),
        lambda: tree.export(["environments"], tmp_path / "out"),
        lambda: repo.ensure_commit(request("d1"), lambda _: {"environments/prod.yaml": b"x"}),
        lambda: repo.ensure_commit(request("d1"), lambda _: {"environments/link/passwd": b"x"}),
    )
    for ask in asks:
        with pytest.raises(Refused) as refusal:
            ask()
        assert refusal.value.reason is ReasonCode.OVERLAY_UNSAFE
    assert not (tmp_path / "out").exists()


def test_a_submodule_is_neither_read_nor_written_nor_exported(rig: Rig, repo: GitInfraRepo, tmp_path: Path) -> None:
    rig.outside({"base": "1" * 40}, mode="160000")
    tree = repo.tree(repo.refresh())
    entry = tree.entry("base")
    assert entry is not None
    assert entry.kind == "commit"
    for ask in (
        lambda: tree.read("base"),
        lambda: tree.read("base/kustomization.yaml"),
        lambda: tree.export([""], tmp_path / "out"),
        lambda: repo.ensure_commit(request("d1"), lambda _: {"base/kustomization.yaml": b"x"}),
    ):
        with pytest.raises(Refused) as refusal:
            ask()
        assert refusal.value.reason is ReasonCode.OVERLAY_UNSAFE


def test_a_file_is_not_written_where_a_folder_is_nor_the_other_way_round(rig: Rig, repo: GitInfraRepo) -> None:
    for path in ("environments/dev", f"{DEV}/below", ""):
        edit = {path: b"x"}
        with pytest.raises(Refused) as refusal:
            repo.ensure_commit(request("d1"), edit_to(edit))
        assert refusal.value.reason is ReasonCode.OVERLAY_UNSAFE
    assert len(rig.log("%H")) == 1


def test_a_huge_file_is_refused_by_its_size_and_does_not_stop_others(rig: Rig, repo: GitInfraRepo) -> None:
    rig.outside({"big.yaml": "x" * (1024 * 1024 + 1), "full.yaml": "y" * (1024 * 1024)})
    tree = repo.tree(repo.refresh())
    for _ in range(2):
        with pytest.raises(Refused) as refusal:
            tree.read("big.yaml")
        assert refusal.value.reason is ReasonCode.OVERLAY_UNSAFE
    assert len(tree.read("full.yaml") or b"") == 1024 * 1024
    assert tree.read(DEV) == b'newTag: "1.0"\n'
    assert repo.ensure_commit(request("d1"), bump("1.1")).tries == 1


def test_a_huge_file_among_hundreds_does_not_mix_up_what_is_read_after_it(
    rig: Rig, repo: GitInfraRepo, tmp_path: Path
) -> None:
    files = {f"many/{number:03d}.yaml": f"number: {number}\n" for number in range(450)}
    rig.outside({**files, "many/200-big.yaml": "x" * (1024 * 1024 + 1)})
    commit = repo.refresh()
    with repo.tree(commit).held() as tree:
        with pytest.raises(Refused) as refusal:
            tree.export(["many"], tmp_path / "out")
        assert refusal.value.reason is ReasonCode.OVERLAY_UNSAFE
        assert "200-big.yaml" in refusal.value.what
        assert tree.read_many(list(files)) == {path: text.encode() for path, text in files.items()}


def test_a_tree_whose_names_climb_out_is_not_exported(rig: Rig, repo: GitInfraRepo, tmp_path: Path) -> None:
    blob = git("hash-object", "-w", "--stdin", cwd=rig.bare, stdin="owned")
    raw = b"100644 ../../owned\0" + bytes.fromhex(blob)
    (tmp_path / "raw").write_bytes(raw)
    tree = git("hash-object", "-t", "tree", "--literally", "-w", str(tmp_path / "raw"), cwd=rig.bare)
    commit = git("commit-tree", tree, "-p", "main", "-m", "climb", cwd=rig.bare)
    git("update-ref", "refs/heads/main", commit, cwd=rig.bare)
    with pytest.raises(Refused):
        repo.tree(repo.refresh()).export([""], tmp_path / "a" / "b")
    assert not (tmp_path / "owned").exists()


def test_export_writes_regular_files_below_the_folders_only(rig: Rig, repo: GitInfraRepo, tmp_path: Path) -> None:
    rig.outside({"base/a.yaml": "a\n", "base/deep/b.yaml": "b\n", "elsewhere.yaml": "c\n"})
    repo.tree(repo.refresh()).export(["base", "environments/dev", "missing"], tmp_path / "out")
    written = {
        str(p.relative_to(tmp_path / "out")): p.read_text() for p in (tmp_path / "out").rglob("*") if p.is_file()
    }
    assert written == {"base/a.yaml": "a\n", "base/deep/b.yaml": "b\n", DEV: 'newTag: "1.0"\n'}


def test_repeated_reads_start_no_process(repo: GitInfraRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = repo.tree(repo.refresh())
    first = (tree.read(DEV), tree.entries("environments"), tree.entry(DEV))
    monkeypatch.setenv("PATH", "/nonexistent")
    again = repo.tree(tree.commit)
    assert (again.read(DEV), again.entries("environments"), again.entry(DEV)) == first


def test_the_environment_we_were_started_in_does_not_reach_git(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, owned = tmp_path / "trace", tmp_path / "owned"
    hostile = tmp_path / "gitconfig"
    hostile.write_text(
        f'[core]\n\thooksPath = {tmp_path}\n\tfsmonitor = touch {owned}\n[url "file:///x"]\n\tinsteadOf = file\n'
    )
    hook = tmp_path / "pre-push"
    hook.write_text(f"#!/bin/sh\ntouch {owned}\n")
    hook.chmod(0o755)
    for name, value in {
        "GIT_DIR": "/nonexistent",
        "GIT_INDEX_FILE": "/nonexistent",
        "GIT_OBJECT_DIRECTORY": "/nonexistent",
        "GIT_NAMESPACE": "elsewhere",
        "GIT_TRACE": str(trace),
        "GIT_CONFIG_GLOBAL": str(hostile),
        "GIT_CONFIG_PARAMETERS": "'core.bare'='false'",
        "GIT_AUTHOR_DATE": "2001-01-01T00:00:00Z",
        "GIT_PROXY_COMMAND": f"touch {owned}",
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    commit = rig.repo(rig.file_url).ensure_commit(request("d1"), bump("1.1"))
    assert rig.log("%H", "-1") == [commit.sha]
    assert not rig.log("%ad", "-1", "--date=short")[0].startswith("2001")
    assert not trace.exists()
    assert not owned.exists()


def test_ssh_is_asked_without_prompts_and_without_shared_connections(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    # Stands in for the far side too: the last word is the command that a real ssh would run there.
    ssh.write_text(f'#!/bin/sh\necho "$@" >> {said}\nfor last; do :; done\nexec sh -c "$last"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}{os.pathsep}{os.environ['PATH']}")
    for number, url in enumerate((f"ssh://git@example.com:2222{rig.bare}", f"git@example.com:{rig.bare}")):
        repo = rig.repo(url, home=f"home{number}")
        assert repo.ensure_commit(request(f"d{number}"), bump(f"2.{number}")).tries == 1
    words = said.read_text()
    assert "-oBatchMode=yes" in words
    assert "-oControlMaster=no" in words
    assert "-p 2222 git@example.com" in words
    assert TOKEN not in words


def _everything(fault: reasons.Fault) -> str:
    """All that a fault could show to anybody, its causes included."""
    told = [str(fault), repr(fault), fault.what, fault.next_step, fault.detail]
    cause: BaseException | None = fault
    while cause is not None:
        told.append(repr(cause))
        cause = cause.__cause__ or cause.__context__
    return "\n".join(told) + str(sys.exc_info())
