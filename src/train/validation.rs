//! Early stopping's validation rows: which of the training rows they are, and how well the network answers them.
//!
//! They are chosen as scikit-learn's `train_test_split` chooses, by classes in their proportions. (Its documentation
//! says so of all classifications; its code does it with two classes only.)

use ndarray::ArrayView1;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::backprop::{Network, Pass, Truth};
use super::descent::TrainingData;
use super::split::{cut, stratify, test_rows};
use super::{TrainError, evaluate};
use crate::engine::predicted_class;

/// Which rows train and which validate.
#[derive(Debug, PartialEq)]
pub(super) struct Division {
    pub(super) learn: Vec<usize>,
    pub(super) validate: Vec<usize>,
}

/// Divides all rows; a part of a row more than `fraction` counts as a whole one.
///
/// `classes` are the names of a classification's classes, which are kept in their proportions.
pub(super) fn divide(
    truth: &Truth,
    classes: &[String],
    fraction: f64,
    rng: &mut ChaCha8Rng,
) -> Result<Division, TrainError> {
    let rows = match truth {
        Truth::Classes(classes) => classes.len(),
        Truth::Numbers(numbers) => numbers.len(),
    };
    let wanted = test_rows(rows, fraction);
    if wanted < 2 {
        return Err(TrainError::FewToValidate { rows: wanted });
    }
    let (mut learn, mut validate) = match truth {
        Truth::Classes(of_rows) => {
            check_classes(of_rows, classes, wanted)?;
            stratify(of_rows, classes.len(), fraction, rng)
        }
        Truth::Numbers(_) => {
            let mut order: Vec<usize> = (0..rows).collect();
            order.shuffle(rng);
            cut(order, fraction)
        }
    };
    if learn.is_empty() {
        return Err(TrainError::EmptySide { side: "training" });
    }
    // In the order of the table: what the order of an epoch is, is the shuffling's to say.
    learn.sort_unstable();
    validate.sort_unstable();
    Ok(Division { learn, validate })
}

/// Whether both sides can have rows of each class.
fn check_classes(of_rows: &[usize], classes: &[String], wanted: usize) -> Result<(), TrainError> {
    let mut members = vec![0_usize; classes.len()];
    of_rows.iter().for_each(|&class| members[class] += 1);
    if let Some((class, _)) = classes.iter().zip(&members).find(|(_, members)| **members < 2) {
        return Err(TrainError::OneMember { class: class.clone() });
    }
    if wanted < classes.len() || of_rows.len() - wanted < classes.len() {
        return Err(TrainError::ClassesToValidate { rows: wanted, classes: classes.len() });
    }
    Ok(())
}

/// The accuracy of a classifier, each row counting as its weight says, or a regression's R²; NaN where an answer isn't
/// finite.
pub(super) fn score(
    network: &Network,
    training_data: &TrainingData<'_>,
    pass: &mut Pass<'_>,
    batch_size: usize,
) -> f64 {
    let TrainingData { truth, sample_weight, division, .. } = training_data;
    let (mut right, mut total) = (0.0, 0.0);
    let (mut actual, mut predicted) = (Vec::new(), Vec::new());
    for batch in division.validate.chunks(batch_size) {
        let answers = pass.answer(network, batch);
        if answers.iter().any(|answer| !answer.is_finite()) {
            return f64::NAN;
        }
        match truth {
            Truth::Classes(classes) => {
                for (&row, answer) in batch.iter().zip(answers.rows()) {
                    let weight = sample_weight.map_or(1.0, |weights| f64::from(weights[row]));
                    total += weight;
                    right += if decide(answer) == classes[row] { weight } else { 0.0 };
                }
            }
            Truth::Numbers(numbers) => {
                actual.extend(batch.iter().map(|&row| f64::from(numbers[row])));
                predicted.extend(answers.column(0).iter().map(|&answer| f64::from(answer)));
            }
        }
    }
    match truth {
        Truth::Classes(_) => right / total,
        Truth::Numbers(_) => evaluate::r2(&actual, &predicted).unwrap_or(f64::NAN),
    }
}

/// The class that a row's probabilities stand for; a lone one is that of the second class.
fn decide(answer: ArrayView1<'_, f32>) -> usize {
    if answer.len() == 1 { usize::from(answer[0] > 0.5) } else { predicted_class(answer) }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|class| class.to_string()).collect()
    }

    #[test]
    fn classes_keep_their_proportions() {
        let of_rows: Vec<usize> = (0..100).map(|row| usize::from(row % 10 >= 6) + usize::from(row % 10 == 9)).collect();
        let truth = Truth::Classes(of_rows.clone());
        let Division { learn, validate } = divide(&truth, &names(3), 0.195, &mut rng(1)).unwrap();
        let count = |rows: &[usize], class| rows.iter().filter(|&&row| of_rows[row] == class).count();
        assert_eq!([0, 1, 2].map(|class| count(&validate, class)), [12, 6, 2]);
        assert_eq!([0, 1, 2].map(|class| count(&learn, class)), [48, 24, 8]);
        let mut all = [learn, validate].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_ne!(
            divide(&truth, &names(3), 0.2, &mut rng(1)).unwrap(),
            divide(&truth, &names(3), 0.2, &mut rng(2)).unwrap()
        );
    }

    #[test]
    fn numbers_are_taken_at_random() {
        let Division { learn, validate } = divide(&Truth::Numbers(vec![0.0; 11]), &[], 0.1, &mut rng(3)).unwrap();
        assert_eq!((learn.len(), validate.len()), (9, 2));
    }

    #[test]
    fn too_few_rows_are_reported_with_what_helps() {
        let message =
            |truth, classes, fraction| divide(&truth, &names(classes), fraction, &mut rng(0)).unwrap_err().to_string();
        assert!(message(Truth::Numbers(vec![0.0; 10]), 0, 0.1).contains("--validation-fraction"));
        assert!(message(Truth::Numbers(vec![0.0; 10]), 0, 0.0).contains("--validation-fraction"));
        assert!(message(Truth::Classes(vec![0, 0, 0, 0, 1]), 2, 0.5).contains(r#"class "1""#));
        let three = Truth::Classes((0..15).map(|row| row % 3).collect());
        assert!(message(three, 3, 0.1).contains("3 classes"));
    }
}
