"""Conditions and the state that they add up to."""

from __future__ import annotations

from trocar.runtime.live.health import Health, StateChange


def test_the_worst_condition_is_the_state() -> None:
    changes: list[StateChange] = []
    health = Health(changes.append)
    health.set("a", "DEGRADED", "something is amiss")
    health.set("b", "FAULT", "it is broken")
    assert health.state == "FAULT"
    assert health.reasons == ("it is broken", "something is amiss")
    health.clear("b")
    health.clear("b")
    health.set("a", "DEGRADED", "something is amiss")
    health.clear("a")
    health.finish()
    assert [c.state for c in changes] == ["DEGRADED", "FAULT", "DEGRADED", "LIVE"]
    health.set("c", "DEGRADED", "for a moment", seconds=0.0)
    health.refresh()
    assert health.state == "LIVE"


def test_a_lost_connection_is_a_fault_until_it_is_restored() -> None:
    health = Health()
    health.connection_lost("the stream ended")
    assert (health.state, health.reasons) == ("FAULT", ("no source: the stream ended",))
    health.connection_restored()
    assert (health.state, health.reasons) == ("LIVE", ())
