"""Slots of hosts: limits, turns, and that none is lost however calls are cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tornflow_task_http.slots import HostSlots


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_full_host_holds_nobody_else_up() -> None:
    slots = HostSlots(total=3, per_host=2)
    assert [slots.take("a"), slots.take("a"), slots.take("a")] == [True, True, False]
    waiting = asyncio.create_task(slots.wait("a"))
    await turns()
    assert slots.take("b") and not slots.take("b")
    slots.give_back("b")
    await turns()
    assert not waiting.done()
    slots.give_back("a")
    await waiting


async def test_hosts_take_turns_when_the_total_is_short() -> None:
    slots, came = HostSlots(total=1, per_host=1), []

    async def call(host: str) -> None:
        await slots.wait(host)
        came.append(host)
        slots.give_back(host)

    assert slots.take("x")
    calls = [asyncio.create_task(call(host)) for host in "aaabbc"]
    await turns()
    slots.give_back("x")
    await asyncio.gather(*calls)
    assert came == ["a", "b", "c", "a", "b", "a"]


async def test_a_call_that_is_cancelled_as_its_turn_comes_passes_it_on() -> None:
    slots = HostSlots(total=1, per_host=1)
    assert slots.take("a")
    first, second = asyncio.create_task(slots.wait("a")), asyncio.create_task(slots.wait("a"))
    await turns()
    slots.give_back("a")
    first.cancel()
    await asyncio.wait_for(second, 5)


async def test_a_slot_that_comes_back_just_after_its_waiter_was_cancelled_goes_to_the_next() -> None:
    slots = HostSlots(total=1, per_host=1)
    assert slots.take("a")
    first, second = asyncio.create_task(slots.wait("a")), asyncio.create_task(slots.wait("a"))
    await turns()
    first.cancel()
    slots.give_back("a")  # before the cancelled one has had its turn
    await asyncio.wait_for(second, 5)
    await asyncio.wait([first])
    assert first.cancelled()
    slots.give_back("a")
    assert not slots._hosts and slots._taken == 0


_MOVES = st.lists(st.tuples(st.sampled_from(["call", "end", "cancel", "turn"]), st.integers(0, 99)), max_size=60)


@given(moves=_MOVES)
@settings(deadline=None)
def test_in_any_order_limits_hold_and_every_slot_comes_back(moves: list[tuple[str, int]]) -> None:
    async def play() -> None:
        slots, out, calls = HostSlots(total=3, per_host=2), [], []

        async def call(host: str) -> None:
            if not slots.take(host):
                await slots.wait(host)
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            me: tuple[str, Any] = (host, gate)
            out.append(me)
            try:
                await gate
            finally:
                out.remove(me)
                slots.give_back(host)

        for move, number in moves:
            if move == "call":
                calls.append(asyncio.create_task(call("abcd"[number % 4])))
            elif move == "turn":
                await asyncio.sleep(0)
            elif move == "cancel" and calls:
                calls[number % len(calls)].cancel()
            elif move == "end" and out:
                gate = out[number % len(out)][1]
                if not gate.done():
                    gate.set_result(None)
            hosts = [host for host, _ in out]
            assert len(hosts) <= 3 and all(hosts.count(host) <= 2 for host in hosts)
        while not all(one.done() for one in calls):
            await asyncio.sleep(0)
            for _, gate in out:
                if not gate.done():
                    gate.set_result(None)
        assert not slots._hosts and not slots._ready and slots._taken == 0

    asyncio.run(play())
