"""Migrates the database whose URL comes on standard input: `storage.database.upgrade_apart` runs it."""

import sys

from storage import database


def main() -> None:
    """Upgrade, and let go."""
    engine = database.create(sys.stdin.read().strip())
    try:
        database.upgrade(engine)
    finally:
        engine.dispose()


if __name__ == "__main__":
    main()
