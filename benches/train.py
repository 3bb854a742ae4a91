"""scikit-learn's side of benches/train.rs: trains on the flights and prints how fast.

    train.py FILE EPOCHS BATCH SOLVER

Reads lines `DTYPE THREADS` and answers each with `ROWS_PER_SECOND LAST_LOSS`. The time is that of the epochs behind the
first one, which pays for what is done once.
"""

import sys
import time
import warnings

import pandas
from sklearn.compose import make_column_transformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

CATEGORIES = ["carrier", "origin", "dest"]


class Timed(MLPClassifier):
    """Notes when each epoch ends."""

    def _update_no_improvement_count(self, *arguments):
        self.ends = [*getattr(self, "ends", []), time.perf_counter()]
        super()._update_no_improvement_count(*arguments)


def main():
    file, epochs, batch, solver = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    warnings.simplefilter("ignore", ConvergenceWarning)
    flights = pandas.read_csv(file, dtype=dict.fromkeys(CATEGORIES, "str")).dropna(subset="late")
    numeric = [name for name in flights.columns if name not in ["id", "time", "late", *CATEGORIES]]
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="mean"), StandardScaler()), numeric),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORIES),
    )
    x, y = prepare.fit_transform(flights), (flights["late"] == "late").to_numpy()
    print(*x.shape, flush=True)
    for line in sys.stdin:
        dtype, threads = line.split()
        model = Timed(
            hidden_layer_sizes=(100, 100),
            batch_size=batch,
            solver=solver,
            max_iter=epochs,
            tol=0,
            n_iter_no_change=epochs,
            random_state=0,
        )
        with threadpool_limits(int(threads)):
            model.fit(x.astype(dtype), y)
        seconds = (model.ends[-1] - model.ends[0]) / (epochs - 1)
        print(len(x) / seconds, model.loss_, flush=True)


if __name__ == "__main__":
    main()
