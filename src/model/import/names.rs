//! Names of columns that an exporter has changed, so that records use other names than the imported model.

use crate::model::signature::Feature;

/// The columns that are named differently by a record than by the model: each feature that the record lacks, with the
/// member that its name was made of.
pub(super) fn renamed(features: &[Feature], members: &[String]) -> Vec<(String, String)> {
    let lacked = features.iter().map(|feature| &feature.name).filter(|name| !members.contains(name));
    let pairs = lacked.filter_map(|name| {
        let mut alike = members
            .iter()
            .filter(|member| plain(member) == plain(name) && !features.iter().any(|feature| feature.name == **member));
        // Two members that would become the same name don't say which one is meant.
        let member = alike.next().filter(|_| alike.next().is_none())?;
        Some((name.clone(), member.clone()))
    });
    pairs.collect()
}

/// Whether a name looks like one of which characters were replaced: `petal_length__cm_` was `petal length (cm)`.
pub(super) fn looks_replaced(name: &str) -> bool {
    let starts_with_digit =
        name.strip_prefix('_').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    starts_with_digit || name.ends_with('_') || name.trim_matches('_').contains("__")
}

/// What is left of a name whatever an exporter makes of other characters, of a digit at the start and of capitals.
/// skl2onnx replaces what isn't a letter, a digit or `+` by `_` and puts `_` before a digit at the start.
fn plain(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    name.strip_prefix('_').unwrap_or(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::signature::{Kind, Missing};

    fn pairs(features: &[&str], members: &[&str]) -> Vec<(String, String)> {
        let feature = |name: &&str| Feature { name: (*name).into(), kind: Kind::Numeric, missing: Missing::Reject };
        let features: Vec<Feature> = features.iter().map(feature).collect();
        renamed(&features, &members.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_renamed_column_is_found_by_what_is_left_of_its_name() {
        for (feature, member) in [
            ("petal_length__cm_", "petal length (cm)"),
            ("cost_per_click", "cost-per-click"),
            ("größe__m_", "größe (m)"),
            ("gr__e", "größe"),
            ("_2nd", "2nd"),
            ("age", "Age"),
        ] {
            assert_eq!(pairs(&[feature, "x"], &[member, "x", "outputs"]), [(feature.to_owned(), member.to_owned())]);
            assert_eq!(pairs(&[feature], &[feature, member]), [], "the record has both");
        }
        assert_eq!(pairs(&["a_b"], &["a-b", "a b"]), [], "either may be meant");
        assert_eq!(pairs(&["a_b", "a-b"], &["a-b"]), [], "that one is a feature itself");
        assert_eq!(pairs(&["a"], &["b"]), []);
    }

    #[test]
    fn names_with_replaced_characters_are_distinguished_from_others() {
        for name in ["petal_length__cm_", "_2nd", "width_", "a__b"] {
            assert!(looks_replaced(name), "{name}");
        }
        for name in ["cost_per_click", "x0", "_id", "__version", "größe"] {
            assert!(!looks_replaced(name), "{name}");
        }
    }
}
