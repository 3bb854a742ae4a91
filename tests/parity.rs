//! Training beside scikit-learn's, which runs for real: the same curves from the same weights, and as good a model from
//! weights of its own.

use std::ops::ControlFlow;
use std::path::PathBuf;

use ndarray::{Array1, Array2};
use serde_json::{Value, json};
use weir::engine::{Activation, Layer};
use weir::model::preprocess::Transform;
use weir::train::dataset::{Column, Columns, Table, Target, TargetValues};
use weir::train::recipe::{BatchSize, LearningRate, Solver};
use weir::train::warm::Parent;
use weir::train::{Recipe, Session, fit, fit_in};

use crate::support::tools::python;

/// What both are asked to do, and how near the losses must be, relative.
struct Case {
    task: &'static str,
    recipe: Recipe,
    tolerance: f64,
}

/// The cases that point by point must agree: every activation and solver of scikit-learn, with its default step size.
fn curves() -> Vec<Case> {
    let mut cases = Vec::new();
    for task in ["binary", "three", "number"] {
        for activation in [Activation::Relu, Activation::Tanh, Activation::Logistic, Activation::Identity] {
            let endless = Recipe {
                hidden_layer_sizes: vec![16, 8],
                activation,
                max_iter: 50,
                shuffle: false,
                tol: 0.0,
                n_iter_no_change: usize::MAX,
                ..Recipe::default()
            };
            for (momentum, nesterovs_momentum) in [(0.0, false), (0.9, false), (0.9, true)] {
                let recipe = Recipe { solver: Solver::Sgd, momentum, nesterovs_momentum, ..endless.clone() };
                cases.push(Case { task, recipe, tolerance: 1e-4 });
            }
            // Of relu and adam even two float32 runs of scikit-learn part after some epochs: at a kink a bit decides.
            let adam = Recipe { solver: Solver::Adam, ..endless };
            cases.push(match activation {
                Activation::Relu => Case { task, recipe: Recipe { max_iter: 10, ..adam }, tolerance: 1e-3 },
                _ => Case { task, recipe: adam, tolerance: 1e-4 },
            });
        }
    }
    cases
}

/// Steps that change, classes that weigh, parameters beside their defaults, and when a training ends by itself.
fn particulars() -> Vec<Case> {
    let sgd = |activation| Recipe {
        hidden_layer_sizes: vec![12],
        activation,
        solver: Solver::Sgd,
        learning_rate_init: 0.05,
        max_iter: 50,
        shuffle: false,
        tol: 0.0,
        n_iter_no_change: usize::MAX,
        ..Recipe::default()
    };
    let adam = || Recipe { solver: Solver::Adam, learning_rate_init: 0.01, ..sgd(Activation::Tanh) };
    let weights = |text: &str| Some(text.parse().unwrap());
    let recipes = [
        ("binary", Recipe { learning_rate: LearningRate::Invscaling, ..sgd(Activation::Tanh) }),
        ("number", Recipe { learning_rate: LearningRate::Invscaling, power_t: 0.2, ..sgd(Activation::Relu) }),
        (
            "three",
            Recipe { learning_rate: LearningRate::Adaptive, tol: 0.004, n_iter_no_change: 2, ..sgd(Activation::Tanh) },
        ),
        ("number", Recipe { tol: 0.002, n_iter_no_change: 3, ..sgd(Activation::Logistic) }),
        ("binary", Recipe { class_weight: weights("balanced"), alpha: 0.5, ..sgd(Activation::Relu) }),
        ("three", Recipe { class_weight: weights("balanced"), ..adam() }),
        ("three", Recipe { class_weight: weights("top:3.5,low:0.25"), alpha: 2.0, ..sgd(Activation::Logistic) }),
        ("binary", Recipe { class_weight: weights("yes:4"), ..adam() }),
        ("number", Recipe { beta_1: 0.8, beta_2: 0.95, epsilon: 1e-3, ..adam() }),
        ("binary", Recipe { batch_size: BatchSize::Rows(32), alpha: 1.0, ..adam() }),
        ("three", Recipe { hidden_layer_sizes: vec![], ..sgd(Activation::Relu) }),
    ];
    recipes.into_iter().map(|(task, recipe)| Case { task, recipe, tolerance: 1e-4 }).collect()
}

#[test]
fn losses_fall_as_scikit_learns_do() {
    let cases: Vec<Case> = curves().into_iter().chain(particulars()).collect();
    let request = cases.iter().map(|case| {
        // The recipe is written in scikit-learn's words; some of them are weir's own.
        let mut params = serde_json::to_value(&case.recipe).unwrap();
        let own =
            ["preparation", "class_weight", "target_scale"].map(|key| params.as_object_mut().unwrap().remove(key));
        let [_, class_weight, _] = own;
        json!({ "task": case.task, "params": params, "class_weight": class_weight.map(to_scikit_learn) })
    });
    let answer = python("parity.py", &[], &request.collect());
    let x = matrix(&answer["X"]);

    let mut wrong = Vec::new();
    for (case, theirs) in cases.iter().zip(answer["cases"].as_array().unwrap()) {
        let table = table(&x, &answer["targets"][case.task]);
        let losses = train(&table, &case.recipe, &theirs["initial"]);
        let expected = numbers(&theirs["losses"]);
        let label = format!("{}, {}", case.task, serde_json::to_string(&case.recipe).unwrap());
        if losses.len() != expected.len() {
            wrong.push(format!("{} epochs, not {}: {label}", losses.len(), expected.len()));
        }
        let off = losses.iter().zip(&expected).map(|(ours, theirs)| (ours / theirs - 1.0).abs());
        let off = off.fold(0.0, |worst: f64, off| if off > worst || off.is_nan() { off } else { worst });
        println!("{off:.1e} after {} epochs: {label}", losses.len());
        if off > case.tolerance || off.is_nan() {
            wrong.push(format!("{off:.1e} off, more than {:.0e}: {label}", case.tolerance));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What is only there to change something, has changed it.
    let epochs: Vec<usize> =
        answer["cases"].as_array().unwrap().iter().map(|case| numbers(&case["losses"]).len()).collect();
    assert!(epochs[curves().len() + 3] < 50, "a training that ends by itself: {epochs:?}");
}

/// The losses of a training that begins with these layers and takes the rows as they are.
fn train(table: &Table, recipe: &Recipe, initial: &Value) -> Vec<f64> {
    let (nothing, on) = (table.select(&[]), &mut |_: &_| ControlFlow::Continue(()));
    let mut draft =
        fit(table, &nothing, &Recipe { max_iter: 1, ..recipe.clone() }, on).unwrap().into_draft("initial", []);
    for transform in &mut draft.preprocessing {
        *transform = Transform::Numeric { steps: vec![], indicator: false };
    }
    for (layer, initial) in draft.layers.iter_mut().zip(initial.as_array().unwrap()) {
        let weights = matrix(&initial[0]).mapv(|value| value as f32);
        let bias: Array1<f32> = numbers(&initial[1]).into_iter().map(|value| value as f32).collect();
        *layer = Layer::new(weights, bias, layer.activation);
    }
    let parent = Parent::new(draft).unwrap();
    let session = Session { parent: Some(&parent), ..Session::default() };
    fit_in(session, table, &nothing, recipe, on).unwrap().losses
}

/// `{"class": weight}` or `"balanced"`.
fn to_scikit_learn(class_weight: Value) -> Value {
    match class_weight.as_str() {
        Some("balanced") | None => class_weight,
        Some(text) => {
            let pairs = text.split(',').map(|pair| pair.split_once(':').unwrap());
            pairs.map(|(class, weight)| (class.to_owned(), json!(weight.parse::<f64>().unwrap()))).collect()
        }
    }
}

#[test]
fn models_are_as_good_as_scikit_learns() {
    const SEEDS: usize = 10;
    let base = |max_iter, hidden: &[usize]| Recipe { max_iter, hidden_layer_sizes: hidden.into(), ..Recipe::default() };
    // How many points of accuracy the mean may be lower. The small sets are noisy: 2.5 points of wine are one row in 40.
    let sets = [
        ("flights", base(3, &[100]), 0.5),
        ("digits", base(40, &[100]), 1.0),
        ("wine", base(200, &[100]), 2.5),
        ("breast cancer", base(200, &[100]), 2.5),
    ];
    let params = sets.iter().map(|(name, recipe, _)| {
        let params = json!({ "hidden_layer_sizes": recipe.hidden_layer_sizes, "max_iter": recipe.max_iter });
        ((*name).to_owned(), params)
    });
    let flights = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/flights/sample.csv.gz"));
    let request = json!({ "seeds": SEEDS, "flights": flights, "params": Value::Object(params.collect()) });
    let answer = python("accuracy.py", &[], &request);

    for (name, recipe, points) in sets {
        let table = match name {
            "flights" => read_flights(&flights),
            _ => self::table(&matrix(&answer[name]["X"]), &answer[name]["y"]),
        };
        let (mut ours, mut theirs) = (0.0, 0.0);
        for (seed, run) in answer[name]["seeds"].as_array().unwrap().iter().enumerate() {
            let (train, test) = divided(&table, &run["test"]);
            let recipe = Recipe { random_state: seed as u64, ..recipe.clone() };
            let on = &mut |_: &_| ControlFlow::Continue(());
            let trained = fit(&train, &test, &recipe, on).unwrap();
            ours += 100.0 * trained.metrics()["accuracy"] / SEEDS as f64;
            theirs += 100.0 * run["accuracy"].as_f64().unwrap() / SEEDS as f64;
        }
        println!("{name}: {ours:.2} %, scikit-learn {theirs:.2} %");
        assert!(ours >= theirs - points, "{name}: {ours:.2} %, scikit-learn {theirs:.2} %");
        assert!(ours > 75.0, "{name}: {ours:.2} % is what no training would reach");
    }
}

/// The recipe that has these parameters of scikit-learn's.
fn recipe(params: &Value) -> Recipe {
    let integer = |name: &str| params[name].as_u64().unwrap() as usize;
    let number = |name: &str| params[name].as_f64().unwrap();
    Recipe {
        hidden_layer_sizes: numbers(&params["hidden_layer_sizes"]).iter().map(|&size| size as usize).collect(),
        activation: serde_json::from_value(params["activation"].clone()).unwrap(),
        alpha: number("alpha"),
        batch_size: BatchSize::Rows(integer("batch_size")),
        max_iter: integer("max_iter"),
        solver: params["solver"].as_str().unwrap().parse().unwrap(),
        learning_rate_init: number("learning_rate_init"),
        ..Recipe::default()
    }
}

/// Tables drawn at random, regressions of all magnitudes among them. weir must learn each nearly as well as scikit-learn does,
/// and all together as well, within the noise of their seeds. `WEIR_TABLES` is how many there are.
#[test]
fn random_tables_are_learnt_as_scikit_learn_learns_them() {
    const SEEDS: usize = 4;
    // By how much a table may be worse. Another seed of scikit-learn's own is worse by as much.
    const MOST: [(&str, f64); 3] = [("log_loss", 0.12), ("accuracy", 0.06), ("r2", 0.06)];
    let tables: usize = std::env::var("WEIR_TABLES").map_or(12, |count| count.parse().unwrap());
    let answer = python("tables.py", &[], &json!({ "tables": tables, "seeds": SEEDS }));
    let mut gains = MOST.map(|_| Vec::new());
    for (number, case) in answer.as_array().unwrap().iter().enumerate() {
        let table = table(&matrix(&case["X"]), &case["y"]);
        let params = &case["params"];
        let recipe = recipe(params);
        let mut gain = MOST.map(|_| 0.0);
        for (seed, run) in case["seeds"].as_array().unwrap().iter().enumerate() {
            let recipe = Recipe { random_state: seed as u64, ..recipe.clone() };
            let (train, test) = divided(&table, &run["test"]);
            let trained = fit(&train, &test, &recipe, &mut |_| ControlFlow::Continue(())).unwrap();
            for ((name, _), gain) in MOST.iter().zip(&mut gain) {
                // Of a loss less is more.
                let sign = if *name == "log_loss" { -1.0 } else { 1.0 };
                let theirs = run["metrics"].get(name).map(|theirs| theirs.as_f64().unwrap());
                *gain += theirs.map_or(f64::NAN, |theirs| sign * (trained.metrics()[*name] - theirs) / SEEDS as f64);
            }
        }
        println!("table {number}: {gain:?} {params}");
        for (((name, most), gain), gains) in MOST.iter().zip(gain).zip(&mut gains) {
            // A table has either classes or numbers.
            if case["seeds"][0]["metrics"].get(name).is_some() {
                assert!(gain >= -most, "table {number}, {params}: {name} differs by {gain:.4}");
                gains.push(gain);
            }
        }
    }
    for ((name, _), gains) in MOST.iter().zip(gains) {
        let count = gains.len() as f64;
        let mean = gains.iter().sum::<f64>() / count;
        let error = (gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (count - 1.0) / count).sqrt();
        println!("{name}: better than scikit-learn by {mean:.4} ± {error:.4} in {count} tables");
        assert!(mean >= -2.0 * error - 0.002, "{name}: {mean:.4} ± {error:.4} in {count} tables");
    }
}

/// The rows that train, and those that test.
fn divided(table: &Table, test: &Value) -> (Table, Table) {
    let test: Vec<usize> = numbers(test).into_iter().map(|row| row as usize).collect();
    let mut trains = vec![true; table.len()];
    test.iter().for_each(|&row| trains[row] = false);
    let train: Vec<usize> = (0..table.len()).filter(|&row| trains[row]).collect();
    (table.select(&train), table.select(&test))
}

fn read_flights(path: &std::path::Path) -> Table {
    let columns =
        Columns { target: "late".into(), id: Some("id".into()), time: Some("time".into()), ..Columns::default() };
    Table::read(&[path.to_owned()], &columns).unwrap()
}

/// A table of numbers, and of classes or numbers to predict.
fn table(x: &Array2<f64>, y: &Value) -> Table {
    let labels = y.as_array().unwrap();
    let values = match &labels[0] {
        Value::Number(number) if number.is_f64() => TargetValues::Numbers(numbers(y)),
        _ => {
            let text = |label: &Value| label.as_str().map_or_else(|| label.to_string(), str::to_owned);
            let of_rows: Vec<String> = labels.iter().map(text).collect();
            let mut names = of_rows.clone();
            names.sort();
            names.dedup();
            let rows = of_rows.iter().map(|label| names.binary_search(label).unwrap()).collect();
            TargetValues::Classes { names, rows }
        }
    };
    let column = |at| Column { name: format!("x{at}"), categories: None };
    Table {
        features: (0..x.ncols()).map(column).collect(),
        rows: x.clone(),
        target: Target { name: "y".into(), values },
        times: None,
        without_target: 0,
    }
}

fn numbers(values: &Value) -> Vec<f64> {
    values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn matrix(rows: &Value) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = rows.as_array().unwrap().iter().map(numbers).collect();
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(row, column)| rows[row][column])
}
