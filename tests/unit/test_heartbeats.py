"""A heartbeat is renewed for what an executor runs, and for nothing else. When one is too old: test_engine.py."""

from datetime import timedelta

from storage import claims
from storage.heartbeats import beat
from storage.newcomers import NewDeployment
from storage.phases import Phase
from storage.unit_of_work import Store


def claimed(store: Store, app: str, executor: str) -> str:
    """A deployment that an executor took an hour ago."""
    new = NewDeployment(app=app, environment="staging", version="1", team_id="T1", requested_by="U1")
    with store.write() as uow:
        uow.add(new, "")
        (row,) = claims.claim(uow, executor, 1)
        row.heartbeat_at = uow.now - timedelta(hours=1)
    return new.id


def test_only_what_runs_here_is_renewed(store: Store) -> None:
    mine, theirs, ended = (claimed(store, app, who) for app, who in (("a", "here"), ("b", "there"), ("c", "here")))
    with store.write() as uow:
        row = uow.deployment(ended)
        assert row is not None
        row.to(Phase.FAILED)
    with store.write() as uow:
        beat(uow, [mine, theirs, ended, "unknown"], "here")
        now = uow.now
    with store.read() as uow:
        beats = {name: row.heartbeat_at for name in (mine, theirs, ended) if (row := uow.deployment(name)) is not None}
    assert beats[mine] == now
    for name in (theirs, ended):
        assert (seen := beats[name]) is not None
        assert seen < now - timedelta(minutes=30)
