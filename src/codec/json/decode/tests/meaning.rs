//! Texts and names that mean the same.

use super::*;

/// What a text means doesn't depend on the way by which it came: see [`crate::texts`].
#[test]
fn blanks_words_for_nothing_and_spellings_of_booleans_make_no_difference() {
    let index = |categories: &[&str], json: &str| {
        let kind = Kind::Categorical { categories: strings(categories), unknown: Unknown::Zeros };
        let feature = Feature { name: "c".into(), kind, missing: Missing::Zeros };
        let mut decoder = Decoder::new(&signature(vec![feature]), &DecodeOptions::default());
        let mut row = [0.0];
        decoder.decode(format!("{{\"c\":{json}}}").as_bytes(), &mut row, &mut []).unwrap();
        Gap::of(row[0]).ok_or(row[0])
    };
    // Case b04, with names of more and of fewer than eight bytes.
    for name in ["Private", "State-government"] {
        let padded = format!(" {name}");
        for (category, other) in [(name, &*padded), (&padded, name)] {
            for said in [category.to_owned(), other.to_owned(), format!("{name}\\t "), format!("\\u00a0{name}")] {
                assert_eq!(index(&["x", category], &format!("\"{said}\"")), Err(1.0), "{category:?}: {said:?}");
            }
        }
        assert_eq!(index(&[name, &padded], &format!("\"{padded}\"")), Err(1.0), "the exact name comes first");
        assert_eq!(index(&["x", &padded], "\"private\""), Ok(Gap::Unknown));
        assert_eq!(index(&[name, &padded], &format!("\"{name} \"")), Ok(Gap::Unknown), "neither of two is meant");
    }
    // Case b01.
    for categories in [["False", "True"], ["false", "true"], ["FALSE", "TRUE"], ["f", "t"]] {
        for (json, expected) in [
            ("true", Err(1.0)),
            ("\"True\"", Err(1.0)),
            ("\"TRUE\"", Err(1.0)),
            ("false", Err(0.0)),
            ("\"F\"", Err(0.0)),
            ("\"yes\"", Ok(Gap::Unknown)),
        ] {
            assert_eq!(index(&categories, json), expected, "{categories:?} {json}");
        }
    }
    assert_eq!(index(&["True"], "false"), Ok(Gap::Boolean));
    assert_eq!(index(&["t", "x"], "true"), Ok(Gap::Boolean), "t is no boolean among other texts");
    assert_eq!(index(&["red"], "true"), Ok(Gap::Boolean));
    // Case b03.
    for word in ["NA", " N/A", "NULL", "<NA>", "\\\\N", "None"] {
        assert_eq!(index(&["red"], &format!("\"{word}\"")), Ok(Gap::Missing), "{word}");
    }
    assert_eq!(index(&["DE", "NA"], "\"NA\""), Err(1.0), "Namibia");
}

#[test]
fn blanks_around_names_of_members_make_no_difference() {
    let decode = |names: [&str; 2], payload: &str| {
        let mut decoder = Decoder::new(&signature(names.map(numeric).to_vec()), &DecodeOptions::default());
        let mut row = [0.0; 2];
        // The second record finds what the first one has taught.
        for _ in 0..2 {
            decoder.decode(payload.as_bytes(), &mut row, &mut []).unwrap();
        }
        row.map(|value| (!value.is_nan()).then_some(value))
    };
    assert_eq!(decode(["a", " b"], r#"{"a":1,"b":2}"#), [Some(1.0), Some(2.0)]);
    assert_eq!(decode(["a", "b"], r#"{" a ":1,"b\t":2}"#), [Some(1.0), Some(2.0)]);
    // The exact name counts, whatever the order.
    assert_eq!(decode(["a", "b"], r#"{" a":1,"a":3,"b":2}"#), [Some(3.0), Some(2.0)]);
    assert_eq!(decode(["a", "b"], r#"{"a":3," a":1,"b":2}"#), [Some(3.0), Some(2.0)]);
    assert_eq!(decode(["a", " a"], r#"{"a":3," a":1}"#), [Some(3.0), Some(1.0)]);
    assert_eq!(decode(["a", "b"], r#"{"a":null," a":1,"b":2}"#), [None, Some(2.0)], "null counts, too");
    assert_eq!(decode(["a", "b"], r#"{" a":1,"a":null,"b":2}"#), [None, Some(2.0)]);
    assert_eq!(decode(["a", "b"], r#"{"a":1," a":3,"a":null,"b":2}"#), [None, Some(2.0)]);
    assert_eq!(decode([" a", "a "], r#"{"a":3}"#), [None, None], "neither of two is meant");
    assert_eq!(decode(["a", " a"], r#"{"a ":3}"#), [None, None], "neither of two, though one has no blanks");
}
