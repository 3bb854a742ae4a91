"""A worker as one writes it in Python if it has to be fast: everything by the batch, no Python call per record where a
C one does.

A batch is parsed as one JSON array, becomes one matrix by one pass over the values, is scored by one call, and its
floats are printed by one call. What stays per record is a template for the output and `produce`. (`produce_batch` of
later clients takes no timestamps.)

No record is lost: offsets are committed once a second, and only after all that was produced is delivered. The producer
never gives up, so `len(producer) == 0` says that, and a delivery that fails for good ends the process. A record that
can't be scored ends it too: there is no dead-letter topic here.

Environment: BROKERS, INPUT, OUTPUT, GROUP, MODEL (by matrix.py), FEATURES (30), FORMAT (named or array), WORKERS (1):
processes, since threads would wait for each other.
"""

import json
import os
import time
from itertools import chain
from operator import itemgetter

import numpy as np
import onnxruntime
import orjson
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

ROWS = 1000
COMMIT_SECONDS = 1.0


def main():
    for _ in range(int(os.environ.get("WORKERS", "1")) - 1):
        if os.fork() == 0:
            break
    Worker().run()


class Worker:
    def __init__(self):
        brokers = os.environ["BROKERS"]
        self.input, self.output = os.environ["INPUT"], os.environ["OUTPUT"]
        self.score = Scorer(os.environ["MODEL"])
        self.done = {}  # partition: the last offset whose prediction was given to the producer
        # Both clients have weir's settings.
        self.consumer = Consumer({
            "bootstrap.servers": brokers,
            "group.id": os.environ["GROUP"],
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": 16384,
            "partition.assignment.strategy": "cooperative-sticky",
        })
        self.producer = Producer({
            "bootstrap.servers": brokers,
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": 0,
            "batch.size": 1000000,
            "queue.buffering.max.kbytes": 65536,
            "linger.ms": 1,
            "delivery.report.only.error": True,
            "on_delivery": fail,
        })

    def run(self):
        self.consumer.subscribe([self.input], on_revoke=self.revoke)
        commit_at = time.monotonic() + COMMIT_SECONDS
        while True:
            # What is there right now; only if that is nothing, wait for the next record.
            messages = self.consumer.consume(ROWS, 0) or self.consumer.consume(1, 0.1)
            if messages:
                self.pass_on(messages)
            self.producer.poll(0)
            if time.monotonic() >= commit_at:
                self.drain()
                self.commit(self.done, asynchronous=True)
                commit_at = time.monotonic() + COMMIT_SECONDS

    def pass_on(self, messages):
        for error in filter(None, map(Message.error, messages)):
            raise KafkaException(error)
        values = self.score(list(map(Message.value, messages)))
        partitions = list(map(Message.partition, messages))
        produce, topic = self.producer.produce, self.output
        for value, message, partition in zip(values, messages, partitions):
            while True:
                try:
                    # By position: topic, value, key, partition, two callbacks, timestamp.
                    produce(topic, value, message.key(), partition, None, None, message.timestamp()[1])
                    break
                except BufferError:
                    self.producer.poll(0.001)
        self.done.update(zip(partitions, map(Message.offset, messages)))

    def drain(self):
        # Not flush(): it waits in slices of 100 ms.
        while len(self.producer):
            self.producer.poll(0.001)

    def commit(self, done, asynchronous):
        offsets = [TopicPartition(self.input, partition, offset + 1) for partition, offset in done.items()]
        if offsets:
            self.consumer.commit(offsets=offsets, asynchronous=asynchronous)

    def revoke(self, _consumer, revoked):
        self.drain()
        partitions = [partition.partition for partition in revoked]
        self.commit({p: self.done.pop(p) for p in partitions if p in self.done}, asynchronous=False)


class Scorer:
    """Values of records to values of predictions, in weir's form."""

    def __init__(self, model):
        self.features = int(os.environ.get("FEATURES", "30"))
        named = itemgetter(*(f"f{index}" for index in range(self.features)))
        self.row = itemgetter("features") if os.environ.get("FORMAT", "named") == "array" else named

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        about = self.session.get_modelmeta().custom_metadata_map
        classes = json.loads(about["classes"])
        self.classes = len(classes)
        self.templates = [template(about, classes, prediction) for prediction in classes]

    def __call__(self, values):
        records = orjson.loads(b"[%b]" % b",".join(values))
        if len(records) != len(values):
            raise ValueError("a record's value is no JSON value")
        numbers = chain.from_iterable(map(self.row, records))
        matrix = np.fromiter(numbers, np.float32, len(records) * self.features).reshape(-1, self.features)
        (probabilities,) = self.session.run(["probabilities"], {"features": matrix})

        best = probabilities.argmax(1).tolist()
        # float32 in as few digits as tell it from its neighbours.
        printed = orjson.dumps(probabilities.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
        rows = zip(*[iter(printed)] * self.classes)
        ids = map(orjson.dumps, map(itemgetter("id"), records))
        templates = self.templates
        return [templates[index] % (id, *row) for id, index, row in zip(ids, best, rows)]


def template(about, classes, prediction):
    """The value of an output record, with %b for its id and its probabilities."""
    quoted = [json.dumps(name).replace("%", "%%") for name in [*classes, prediction, about["model"]]]
    *names, prediction, model = quoted
    probabilities = ",".join(f"{name}:%b" for name in names)
    version = about["version"]
    return (
        f'{{"id":%b,"prediction":{prediction},"probabilities":{{{probabilities}}},"model":{model},"version":{version}}}'
    ).encode()


def fail(error, _message):
    raise KafkaException(error)


if __name__ == "__main__":
    main()
