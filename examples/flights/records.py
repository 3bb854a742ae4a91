#!/usr/bin/env python3
"""Prints departures as the JSON records that weir takes, one a line, without the label.

    records.py [FILE]    FILE: sample.csv.gz (the default) or flights.csv.gz

To a topic of the broker that `docker compose up` runs:

    records.py | docker compose exec -T kafka \\
        /opt/kafka/bin/kafka-console-producer.sh --bootstrap-server kafka:19092 --topic flights.features
"""

import csv
import gzip
import json
import pathlib
import signal
import sys

TEXTS = {"id", "time", "carrier", "origin", "dest"}
LABEL = "late"


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `records.py | head` ends without a traceback
    file = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent / "sample.csv.gz"
    with gzip.open(file, "rt", encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            print(json.dumps({column: value(column, text) for column, text in row.items() if column != LABEL}))


def value(column, text):
    if column in TEXTS:
        return text
    return json.loads(text) if text else None


if __name__ == "__main__":
    main()
