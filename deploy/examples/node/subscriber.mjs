// Follows the events of a Roster cell with nats.js: every event once, in the order of the log.
//
//     npm ci
//     NATS_URL=nats://127.0.0.1:4222 node subscriber.mjs main place.json
//
// It begins with sequence 1, and goes on after what `place.json` says. See deploy/subscribers.md.

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { AckPolicy, DeliverPolicy, jetstream } from "@nats-io/jetstream";
import { connect, nanos } from "@nats-io/transport-node";

const URL = process.env.NATS_URL ?? "nats://127.0.0.1:4222";
const [cell = "main", file = "place.json"] = process.argv.slice(2);

// Your own work. Done in one transaction with the place, it is done exactly once.
function handle(event) {
  console.log(event.id, event.type, event.data.customer_ref ?? "-");
}

// Forget what was derived from events, or read the present state through the API.
function resynchronise(why) {
  console.log("resynchronise:", why);
}

function storedPlace() {
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : null;
}

function storePlace(place) {
  writeFileSync(`${file}.draft`, JSON.stringify(place));
  renameSync(`${file}.draft`, file);
}

// Hears the stream that there is now, until it or its consumer is gone: then an error is thrown.
async function follow(js, manager) {
  const stream = await manager.streams.find(`roster.${cell}.>`);
  const epoch = Number(stream.split("_").at(-1));
  let place = storedPlace() ?? { epoch, sequence: 0 };
  if (place.epoch !== epoch) {
    resynchronise(`epoch ${epoch} follows epoch ${place.epoch}`);
    place = { epoch, sequence: 0 };
  }
  const { name } = await manager.consumers.add(stream, {
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: place.sequence + 1,
    ack_policy: AckPolicy.None, // the place says what is done
    inactive_threshold: nanos(60_000),
  });
  const consumer = await js.consumers.get(stream, name);
  for (;;) {
    const messages = await consumer.fetch({ max_messages: 100, expires: 2_000 });
    let heard = 0;
    for await (const message of messages) {
      heard += 1;
      const event = message.json();
      const sequence = Number(event.sequence);
      if (sequence <= place.sequence) continue; // a stream that is being filled again
      if (sequence > place.sequence + 1) {
        resynchronise(`the stream goes on with ${sequence} after ${place.sequence}`);
      }
      handle(event);
      place.sequence = sequence;
      storePlace(place);
    }
    if (heard === 0) await consumer.info();
  }
}

const connection = await connect({ servers: URL, maxReconnectAttempts: -1, reconnectTimeWait: 1_000 });
const js = jetstream(connection);
const manager = await js.jetstreamManager();
for (;;) {
  try {
    await follow(js, manager);
  } catch (error) {
    console.error("looking again:", error.message);
    await pause(1_000);
  }
}
