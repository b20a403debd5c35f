"""Follows the events of a Roster cell with nats-py: every event once, in the order of the log.

    pip install --require-hashes -r requirements.txt
    NATS_URL=nats://127.0.0.1:4222 python3 subscriber.py main place.json

It begins with sequence 1, and goes on after what `place.json` says. See deploy/subscribers.md.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import nats
from nats.errors import Error
from nats.errors import TimeoutError as NothingYet
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
CELL = sys.argv[1] if len(sys.argv) > 1 else "main"
PLACE = Path(sys.argv[2] if len(sys.argv) > 2 else "place.json")
EVERYTHING = f"roster.{CELL}.>"


def handle(event):
    """Your own work. Done in one transaction with the place, it is done exactly once."""
    print(event["id"], event["type"], event["data"].get("customer_ref", "-"), flush=True)


def resynchronise(why):
    """Forget what was derived from events, or read the present state through the API."""
    print("resynchronise:", why, flush=True)


def stored_place():
    return json.loads(PLACE.read_text()) if PLACE.exists() else None


def store_place(place):
    draft = PLACE.with_suffix(".draft")
    draft.write_text(json.dumps(place))
    draft.replace(PLACE)


async def follow(jetstream):
    """Hears the stream that there is now, until it or its consumer is gone: then an error is raised."""
    stream = await jetstream.find_stream_name_by_subject(EVERYTHING)
    epoch = int(stream.rsplit("_", 1)[1])
    place = stored_place() or {"epoch": epoch, "sequence": 0}
    if place["epoch"] != epoch:
        resynchronise(f"epoch {epoch} follows epoch {place['epoch']}")
        place = {"epoch": epoch, "sequence": 0}
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=place["sequence"] + 1,
        ack_policy=AckPolicy.NONE,  # the place says what is done
        inactive_threshold=60,
    )
    subscription = await jetstream.pull_subscribe(EVERYTHING, stream=stream, config=config)
    while True:
        try:
            messages = await subscription.fetch(100, timeout=2)
        except NothingYet:
            await subscription.consumer_info()
            continue
        for message in messages:
            event = json.loads(message.data)
            sequence = int(event["sequence"])
            if sequence <= place["sequence"]:
                continue  # a stream that is being filled again
            if sequence > place["sequence"] + 1:
                resynchronise(f"the stream goes on with {sequence} after {place['sequence']}")
            handle(event)
            place["sequence"] = sequence
            store_place(place)


async def main():
    connection = await nats.connect(URL, max_reconnect_attempts=-1, reconnect_time_wait=1)
    jetstream = connection.jetstream()
    while True:
        try:
            await follow(jetstream)
        except Error as error:
            print("looking again:", repr(error), file=sys.stderr)
            await asyncio.sleep(1)


asyncio.run(main())
