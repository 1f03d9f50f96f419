"""What differs between two commits, file by file."""

from collections.abc import Mapping

from bot.integrations.git.commands import GitCommands, MirrorBrokenError

_NOTHING = "000000"  # the mode of what is not there


def changes(commands: GitCommands, before: str, after: str) -> Mapping[str, tuple[str, str]]:
    """Path -> (`mode id` before, after), empty where there is nothing. Renames are a file gone and a file come."""
    # Fixed options: whatever a diff driver or a rename limit says, two trees differ in the same files.
    words = ("diff-tree", "-r", "--raw", "-z", "--no-renames", "--no-abbrev", "--no-ext-diff", "--no-textconv")
    fields = commands.run(*words, "--end-of-options", before, after, "--").local().split(b"\0")[:-1]
    if len(fields) % 2:
        raise MirrorBrokenError("git ended while it told what differs")
    found: dict[str, tuple[str, str]] = {}
    for described, path in zip(fields[::2], fields[1::2], strict=True):
        # `:100644 100755 <id> <id> M`
        old_mode, new_mode, old, new, _ = described.decode().removeprefix(":").split(" ")
        found[path.decode("utf-8", "surrogateescape")] = (_entry(old_mode, old), _entry(new_mode, new))
    return found


def _entry(mode: str, object_id: str) -> str:
    return "" if mode == _NOTHING else f"{mode} {object_id}"


def merge_base(commands: GitCommands, one: str, other: str) -> str:
    """The best common ancestor of two commits; empty when they have none."""
    return commands.run("merge-base", "--end-of-options", one, other).stdout.decode().strip()
