use std::ops::ControlFlow;

use super::*;
use crate::train::dataset::Table;
use crate::train::recipe::{LearningRate, Recipe, Solver};
use crate::train::tests::{halves, recipe, regression, table};
use crate::train::{Session, Stop, TrainError, TrainedModel, fit_in};

/// A training that may use the file, and may end after an epoch.
fn train(
    (train, test): &(Table, Table),
    recipe: &Recipe,
    checkpoints: Option<&Checkpoints>,
    mut after: impl FnMut(usize) -> bool,
) -> Result<TrainedModel, TrainError> {
    let session = Session { checkpoints, ..Session::default() };
    fit_in(session, train, test, recipe, &mut |epoch| {
        if after(epoch.number) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

fn at(folder: &tempfile::TempDir, every: usize) -> Checkpoints {
    Checkpoints { path: folder.path().join("state"), every, resume: false }
}

#[test]
fn a_resumed_training_is_the_uninterrupted_one() {
    let sgd = |learning_rate| Recipe { learning_rate, max_iter: 12, ..recipe() };
    let adam = Recipe { solver: Solver::Adam, max_iter: 12, ..recipe() };
    let cases = [
        (table(200), sgd(LearningRate::Constant)),
        (table(200), sgd(LearningRate::Invscaling)),
        (table(200), Recipe { tol: 0.02, n_iter_no_change: 1, ..sgd(LearningRate::Adaptive) }),
        (table(200), Recipe { class_weight: Some("balanced".parse().unwrap()), ..adam.clone() }),
        (regression(200), Recipe { early_stopping: true, ..adam.clone() }),
        (table(200), Recipe { early_stopping: true, n_iter_no_change: 4, ..adam.clone() }),
        (regression(200), Recipe { shuffle: false, ..adam }),
    ];
    for (table, recipe) in cases {
        let (data, folder) = (halves(&table), tempfile::tempdir().unwrap());
        let whole = train(&data, &recipe, None, |_| false).unwrap();
        // As a process finds it that follows one which was killed after the fifth epoch, and kept every second.
        let (writing, resuming) = (at(&folder, 2), Checkpoints { resume: true, ..at(&folder, 2) });
        let killed = folder.path().join("as it was");
        train(&data, &recipe, Some(&writing), |epoch| {
            if epoch == 5 {
                fs::copy(&writing.path, &killed).unwrap();
            }
            false
        })
        .unwrap();
        fs::rename(&killed, &writing.path).unwrap();
        let mut first = None;
        let resumed = train(&data, &recipe, Some(&resuming), |epoch| {
            first.get_or_insert(epoch);
            false
        })
        .unwrap();
        assert_eq!(first, Some(5), "{recipe:?}");
        assert_eq!((&resumed.losses, &resumed.scores), (&whole.losses, &whole.scores), "{recipe:?}");
        assert_eq!(resumed.stop, whole.stop);
        assert_eq!(resumed.into_draft("m", []).layers, whole.into_draft("m", []).layers, "{recipe:?}");
    }
}

#[test]
fn an_end_that_was_asked_for_is_kept_whatever_the_epoch() {
    let (data, folder) = (halves(&table(100)), tempfile::tempdir().unwrap());
    let recipe = Recipe { max_iter: 9, ..recipe() };
    let asked = train(&data, &recipe, Some(&at(&folder, 100)), |epoch| epoch == 3).unwrap();
    assert_eq!((asked.stop, asked.losses.len()), (Stop::Asked, 3));
    let resuming = Checkpoints { resume: true, ..at(&folder, 100) };
    let resumed = train(&data, &recipe, Some(&resuming), |_| false).unwrap();
    assert_eq!(resumed.losses, train(&data, &recipe, None, |_| false).unwrap().losses);
    // Nothing is left to do; with more epochs there is.
    let again = train(&data, &recipe, Some(&resuming), |_| panic!("an epoch more")).unwrap();
    assert_eq!(again.losses, resumed.losses);
    let longer = train(&data, &Recipe { max_iter: 12, ..recipe }, Some(&resuming), |_| false).unwrap();
    assert_eq!((&longer.losses[..9], longer.losses.len()), (&*resumed.losses, 12));
}

#[test]
fn a_training_that_is_not_finished_is_not_overwritten() {
    let (data, folder) = (halves(&table(100)), tempfile::tempdir().unwrap());
    let recipe = Recipe { max_iter: 4, ..recipe() };
    let file = at(&folder, 1);
    train(&data, &recipe, Some(&file), |epoch| epoch == 2).unwrap();
    let error = train(&data, &recipe, Some(&file), |_| false).unwrap_err().to_string();
    assert!(error.contains("epoch 2") && error.contains("--resume"), "{error}");
    fs::remove_file(&file.path).unwrap();
    train(&data, &recipe, Some(&file), |_| false).unwrap();
    train(&data, &recipe, Some(&file), |_| false).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing lies beside the checkpoint");
}

#[test]
fn a_checkpoint_of_another_training_is_refused() {
    let (data, folder) = (halves(&table(100)), tempfile::tempdir().unwrap());
    let recipe = recipe();
    train(&data, &recipe, Some(&at(&folder, 1)), |epoch| epoch == 2).unwrap();
    let resuming = Checkpoints { resume: true, ..at(&folder, 1) };
    let refusal = |data: &(Table, Table), recipe: &Recipe| {
        train(data, recipe, Some(&resuming), |_| false).unwrap_err().to_string()
    };
    let other = refusal(&data, &Recipe { learning_rate_init: 0.2, ..recipe.clone() });
    assert!(other.contains("--learning-rate-init is 0.1, here it is 0.2"), "{other}");
    let other = refusal(&data, &Recipe { class_weight: Some("yes:2".parse().unwrap()), ..recipe.clone() });
    assert!(other.contains("--class-weight is not given, here it is yes:2"), "{other}");
    let other = refusal(&halves(&table(96)), &recipe);
    assert!(other.contains("75 training rows of 3 features") && other.contains("72 training rows"), "{other}");
    let mut one_cell = data.clone();
    one_cell.0.rows[[7, 0]] += 1e-9;
    assert!(refusal(&one_cell, &recipe).contains("other data"));
    let mut one_label = data.clone();
    let crate::train::TargetValues::Classes { rows, .. } = &mut one_label.0.target.values else { panic!() };
    rows[3] = 2 - rows[3];
    assert!(refusal(&one_label, &recipe).contains("other data"));
}

#[test]
fn what_is_no_checkpoint_is_not_read_and_not_overwritten() {
    let (data, folder) = (halves(&table(100)), tempfile::tempdir().unwrap());
    let file = at(&folder, 1);
    train(&data, &recipe(), Some(&file), |epoch| epoch == 2).unwrap();
    let whole = fs::read(&file.path).unwrap();
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    for bytes in [&b"id,x\n1,2\n"[..], b"", &whole[..whole.len() - 1], &whole[..100], &huge] {
        fs::write(&file.path, bytes).unwrap();
        for resume in [false, true] {
            let error = train(&data, &recipe(), Some(&Checkpoints { resume, ..file.clone() }), |_| false).unwrap_err();
            assert!(error.to_string().contains("isn't a checkpoint"), "{error}");
            assert_eq!(fs::read(&file.path).unwrap(), bytes);
        }
    }
}

#[test]
fn a_checkpoint_is_written_through_a_link_and_never_to_a_pipe() {
    let (data, folder) = (halves(&table(100)), tempfile::tempdir().unwrap());
    let file = at(&folder, 1);
    let behind = Checkpoints { path: folder.path().join("behind"), ..file.clone() };
    train(&data, &recipe(), Some(&behind), |epoch| epoch == 1).unwrap();
    std::os::unix::fs::symlink(&behind.path, &file.path).unwrap();
    let before = fs::read(&behind.path).unwrap();
    let resumed = Checkpoints { resume: true, ..file.clone() };
    train(&data, &recipe(), Some(&resumed), |epoch| epoch == 2).unwrap();
    assert!(file.path.is_symlink() && fs::read(&behind.path).unwrap() != before);
    let pipe = Checkpoints { path: folder.path().join("pipe"), ..file };
    assert!(std::process::Command::new("mkfifo").arg(&pipe.path).status().unwrap().success());
    let error = train(&data, &recipe(), Some(&pipe), |_| panic!("it trained")).unwrap_err();
    assert!(format!("{:#}", anyhow::Error::from(error)).contains("it is no regular file"));
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_the_training() {
    let (data, folder) = (halves(&table(100)), tempfile::tempdir().unwrap());
    let nowhere = Checkpoints { path: folder.path().join("no/state"), every: 1, resume: true };
    let error = train(&data, &recipe(), Some(&nowhere), |_| panic!("it trained")).unwrap_err();
    assert!(error.to_string().contains("can't write the checkpoint"), "{error}");
}
