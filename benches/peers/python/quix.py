"""Quix Streams with ONNX Runtime, as its documentation shows it: a function that is applied to each record.

Its batches are either windows, which keep records in a state store and give one result for all of them, or those of a
sink, which ends the stream. So records are scored one by one.

Environment: BROKERS, INPUT, OUTPUT, GROUP, MODEL (by matrix.py), FEATURES (30), FORMAT (named or array), WORKERS (1):
processes, as Quix scales, DELIVERY (at_least_once or exactly_once). The key decides on the partition: `to_topic` takes
none.
"""

import json
import os
from operator import itemgetter

import numpy as np
import onnxruntime
from quixstreams import Application


def main():
    for _ in range(int(os.environ.get("WORKERS", "1")) - 1):
        if os.fork() == 0:
            break

    exactly_once = os.environ.get("DELIVERY") == "exactly_once"
    app = Application(
        broker_address=os.environ["BROKERS"],
        consumer_group=os.environ["GROUP"],
        auto_offset_reset="earliest",
        auto_create_topics=False,
        processing_guarantee="exactly-once" if exactly_once else "at-least-once",
        commit_interval=0.1 if exactly_once else 1.0,
        loglevel="WARNING",
        # weir's, beyond what Quix sets itself.
        consumer_extra_config={"fetch.queue.backoff.ms": 5, "queued.max.messages.kbytes": 16384},
        producer_extra_config={"linger.ms": 1, "batch.size": 1000000, "queue.buffering.max.kbytes": 65536},
    )
    records = app.topic(os.environ["INPUT"], value_deserializer="json", key_deserializer="bytes")
    predictions = app.topic(os.environ["OUTPUT"], value_serializer="json", key_serializer="bytes")
    app.dataframe(records).apply(scorer(os.environ["MODEL"])).to_topic(predictions)
    app.run()


def scorer(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    classes, name, version = json.loads(about["classes"]), about["model"], int(about["version"])
    named = itemgetter(*(f"f{index}" for index in range(int(os.environ.get("FEATURES", "30")))))
    row = itemgetter("features") if os.environ.get("FORMAT", "named") == "array" else named

    def score(record):
        (probabilities,) = session.run(["probabilities"], {"features": np.array([row(record)], dtype=np.float32)})
        return {
            "id": record["id"],
            "prediction": classes[probabilities.argmax()],
            "probabilities": dict(zip(classes, probabilities[0].tolist())),
            "model": name,
            "version": version,
        }

    return score


if __name__ == "__main__":
    main()
