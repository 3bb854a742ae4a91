use super::*;
use crate::model::signature::{Feature, Missing, Target};

fn number(missing: Missing) -> Feature {
    Feature { name: "x".into(), kind: Kind::Numeric, missing }
}

fn colour(missing: Missing, unknown: Unknown) -> Feature {
    let categories = ["red", "green", "blue"].map(String::from).to_vec();
    Feature { name: "colour".into(), kind: Kind::Categorical { categories, unknown }, missing }
}

fn numeric(steps: &[Step]) -> Transform {
    Transform::Numeric { steps: steps.to_vec(), indicator: false }
}

/// What becomes of a feature's value.
fn columns(feature: Feature, transform: Transform, value: f64) -> Vec<f32> {
    let signature = Signature { features: vec![feature], target: Target::Regression { names: vec!["y".into()] } };
    let preprocess = Preprocess::new(&signature, &[transform]).unwrap();
    let mut input = vec![9.0; preprocess.width()];
    preprocess.apply(&[value], &mut input);
    input
}

#[test]
fn a_number_without_a_logarithm_is_rejected_by_name() {
    let check = |steps: &[Step], value: f64| {
        let target = Target::Regression { names: vec!["y".into()] };
        let signature = Signature { features: vec![number(Missing::Mean { value: 1.0 })], target };
        let preprocess = Preprocess::new(&signature, &[numeric(steps)]).unwrap();
        preprocess.check(&signature, &[value]).map_err(|rejection| rejection.to_string())
    };
    assert_eq!(check(&[Step::Log1p], -0.5), Ok(()));
    assert_eq!(check(&[Step::Log1p], Gap::Missing.value()), Ok(()));
    assert_eq!(check(&[Step::Clip { low: 0.0, high: 9.0 }, Step::Log1p], -3.0), Ok(()));
    for value in [-1.0, -3.0] {
        let expected = format!(
            "not_finite: feature \"x\": {value} is out of range, only numbers above -1 have a logarithm of 1 + x"
        );
        assert_eq!(check(&[Step::Log1p, Step::Standardize { mean: 1.0, std: 2.0 }], value), Err(expected));
    }
    assert!(check(&[Step::BoxCox { lambda: 0.5 }], 0.0).is_err());
    assert_eq!(check(&[Step::Standardize { mean: 1.0, std: 2.0 }], -1e300), Ok(()));
}

#[test]
fn large_numbers_keep_their_precision() {
    let time = numeric(&[Step::Standardize { mean: 1.7e9, std: 10.0 }]);
    assert_eq!(columns(number(Missing::Reject), time, 1.7e9 + 3.0), [0.3]);
}

#[test]
fn gaps_are_imputed_or_become_zeros() {
    let scale = numeric(&[Step::Standardize { mean: 1.5, std: 2.0 }]);
    let missing = Gap::Missing.value();
    assert_eq!(columns(number(Missing::Constant { value: 2.5 }), scale, missing), [0.5]);
    let gaps = [(Missing::Zeros, [0.0; 3]), (Missing::Category { index: 1 }, [0.0, 1.0, 0.0])];
    for (how, expected) in gaps {
        assert_eq!(columns(colour(how, Unknown::Zeros), Transform::OneHot, missing), expected);
        assert_eq!(columns(colour(how, Unknown::Zeros), Transform::OneHot, Gap::Unknown.value()), [0.0; 3]);
    }
}

#[test]
fn an_unknown_category_may_have_a_column_of_its_own() {
    let feature = || colour(Missing::Zeros, Unknown::Other);
    assert_eq!(columns(feature(), Transform::OneHot, Gap::Unknown.value()), [0.0, 0.0, 0.0, 1.0]);
    assert_eq!(columns(feature(), Transform::OneHot, Gap::Missing.value()), [0.0; 4]);
    assert_eq!(columns(feature(), Transform::OneHot, 2.0), [0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn an_indicator_says_what_was_imputed() {
    let transform = || Transform::Numeric { steps: vec![], indicator: true };
    let feature = || number(Missing::MostFrequent { value: 7.0 });
    assert_eq!(columns(feature(), transform(), Gap::Missing.value()), [7.0, 1.0]);
    assert_eq!(columns(feature(), transform(), 3.0), [3.0, 0.0]);
}

#[test]
fn steps_go_in_their_order() {
    let steps = [Step::Clip { low: 0.0, high: 7.0 }, Step::Log1p, Step::MinMax { min: 0.0, max: 8_f64.ln() }];
    for (value, expected) in [(-5.0, 0.0), (7.0, 1.0), (1e9, 1.0)] {
        assert_eq!(columns(number(Missing::Reject), numeric(&steps), value), [expected]);
    }
    let steps = [Step::Add { value: 1.0 }, Step::Multiply { value: 6.0 }, Step::Divide { value: 4.0 }];
    assert_eq!(columns(number(Missing::Reject), numeric(&steps), 2.0), [4.5]);
}

#[test]
fn powers_are_those_of_scikit_learn() {
    // sklearn.preprocessing.power_transform's formulas, evaluated by numpy in f64.
    let yeo_johnson = [
        (0.0, 2.5, 1.252_762_968_495_368),
        (0.0, -2.5, -5.625),
        (2.0, -2.5, -1.252_762_968_495_368),
        (0.3, 4.0, 2.068_855_322_309_208_3),
        (0.3, -4.0, -8.485_792_098_823_671),
        (-1.5, 1e6, 0.666_666_666_000_001),
    ];
    let box_cox = [(0.0, 4.0, 1.386_294_361_119_890_6), (0.5, 4.0, 2.0), (-2.0, 0.5, -1.5)];
    let cases = yeo_johnson.map(|(lambda, x, y)| (Step::YeoJohnson { lambda }, x, y)).into_iter();
    for (step, x, expected) in cases.chain(box_cox.map(|(lambda, x, y)| (Step::BoxCox { lambda }, x, y))) {
        let y = step.apply(x);
        assert!((y - expected).abs() <= 1e-13 * expected.abs(), "{step:?} of {x}: {y}");
        // Near the limit a small difference of y is a large one of x.
        assert!((step.undo(y) - x).abs() <= 1e-5 * x.abs(), "{step:?} of {x}: {}", step.undo(y));
    }
    for x in [0.0, -1.0] {
        assert!(Step::BoxCox { lambda: 0.5 }.apply(x).is_nan(), "scikit-learn refuses {x}");
    }
}

#[test]
fn a_number_may_become_columns_of_several_kinds() {
    let edges = vec![-1.0, 2.0];
    let several = || Transform::Several {
        parts: vec![
            Part::Number { steps: vec![Step::Replace { value: -999.0, by: 7.0 }] },
            Part::Bins { steps: vec![], edges: edges.clone() },
            Part::Indicator,
        ],
    };
    let columns_of = |value| columns(number(Missing::Constant { value: 2.0 }), several(), value);
    assert_eq!(columns_of(-999.0), [7.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(columns_of(-1.0), [-1.0, 0.0, 1.0, 0.0, 0.0], "an edge is in the bin above");
    assert_eq!(columns_of(2.0_f64.next_down()), [2.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(columns_of(Gap::Missing.value()), [2.0, 0.0, 0.0, 1.0, 1.0]);
    let binned = Part::Bins { steps: vec![Step::BoxCox { lambda: 1.0 }], edges: vec![0.0] };
    let nan = columns(number(Missing::Reject), Transform::Several { parts: vec![binned] }, -3.0);
    assert!(nan.len() == 2 && nan.iter().all(|x| x.is_nan()), "what is no number is in no bin: {nan:?}");
}

#[test]
fn rounding_after_each_step_is_f32_arithmetic() {
    let (offset, factor) = (-0.1_f32, 3.3_f32);
    let steps = [
        Step::Round,
        Step::Add { value: offset.into() },
        Step::Round,
        Step::Multiply { value: factor.into() },
        Step::Round,
    ];
    for value in [0.3, 1.7e9, 1e-12, -77.7] {
        let expected = (value as f32 + offset) * factor;
        assert_eq!(columns(number(Missing::Reject), numeric(&steps), value), [expected]);
    }
}

#[test]
fn steps_that_give_no_number_are_refused() {
    let signature =
        Signature { features: vec![number(Missing::Reject)], target: Target::Regression { names: vec!["y".into()] } };
    for step in [
        Step::Standardize { mean: 0.0, std: 0.0 },
        Step::MinMax { min: 1.0, max: 1.0 },
        Step::Clip { low: 1.0, high: 0.0 },
        Step::Divide { value: 0.0 },
        Step::Add { value: f64::NAN },
        Step::Replace { value: f64::NAN, by: 0.0 },
        Step::YeoJohnson { lambda: f64::INFINITY },
    ] {
        assert!(Preprocess::new(&signature, &[numeric(&[step])]).is_err(), "{step:?}");
    }
    for edges in [vec![], vec![1.0, 1.0], vec![2.0, 1.0], vec![f64::NAN]] {
        let parts = vec![Part::Bins { steps: vec![], edges }];
        assert!(Preprocess::new(&signature, &[Transform::Several { parts }]).is_err());
    }
}
