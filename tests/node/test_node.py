"""What the node does with a message that its disk refused."""

import asyncio

import pytest

from netchat.delivery.inputs import Input, TextArrived
from netchat.limits import CLOSE_WAIT_S
from netchat.model import DisplayText, MessageId, Name
from netchat.node import node as node_module
from netchat.node.node import ChatNode

AN_ID = MessageId(bytes(16))
ARRIVED = TextArrived(AN_ID, Name("bob"), DisplayText("precious"), "loopback")


class FakeArrival:
    def __init__(self) -> None:
        self.was_turned_away = False

    def turn_away(self) -> None:
        self.was_turned_away = True


class FakeWorker:
    def __init__(self) -> None:
        self.submitted: asyncio.Queue[Input] = asyncio.Queue()

    def submit(self, event: Input) -> None:
        self.submitted.put_nowait(event)


def refused(age_s: float) -> tuple[FakeArrival, ChatNode, FakeWorker]:
    """Refuse a message that came ``age_s`` ago; only what decides on it is really there."""
    arrival, worker = FakeArrival(), FakeWorker()
    node = ChatNode.__new__(ChatNode)
    node._arrivals = {AN_ID: arrival}  # type: ignore[dict-item]  # the part of it that is used
    node._arrived_s = {AN_ID: asyncio.get_running_loop().time() - age_s}
    node._worker = worker  # type: ignore[assignment]  # likewise
    node._arrival_refused(AN_ID, ARRIVED)
    return arrival, node, worker


def test_a_sender_that_still_looks_is_turned_away() -> None:
    """It learns by the reset that nothing was stored."""

    async def main() -> None:
        arrival, node, worker = refused(age_s=0)
        assert arrival.was_turned_away
        assert AN_ID not in node._arrivals
        assert worker.submitted.empty()

    asyncio.run(main())


def test_a_message_that_its_sender_takes_for_sent_is_offered_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To drop it now would make ``sent`` a lie: the disk gets it again, under the same id."""
    monkeypatch.setattr(node_module, "STORE_RETRY_S", 0)

    async def main() -> None:
        arrival, node, worker = refused(age_s=CLOSE_WAIT_S)
        async with asyncio.timeout(5):
            assert await worker.submitted.get() is ARRIVED
        assert not arrival.was_turned_away
        assert AN_ID in node._arrivals

    asyncio.run(main())
