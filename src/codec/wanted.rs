//! What is wanted of a record: the tree of names that the path of the features, the features and the copied fields make.
//! A decoder of records with names compiles its plan from it.

use std::collections::BTreeMap;

use super::DecodeOptions;
use crate::model::signature::Signature;

/// The top-level member that holds the features in signature order, unless a feature is called so.
pub(super) const POSITIONAL: &str = "features";

/// What is wanted at one place of a record, and within it.
#[derive(Clone, Debug, Default)]
pub(super) struct WantedNode {
    /// The feature that the value here is.
    pub(super) feature: Option<usize>,
    /// Whether the feature has blanks around its name, and the name here lacks them: what the feature's own name says counts
    /// more.
    pub(super) is_alias: bool,
    /// The field that is copied from here.
    pub(super) field: Option<usize>,
    /// Whether an array here is the features in signature order.
    pub(super) is_positional: bool,
    /// Whether the features are here by name, or further within: the dotted path up to here. None: neither.
    pub(super) step: Option<String>,
    pub(super) members: BTreeMap<String, WantedNode>,
}

impl WantedNode {
    /// The tree of a record. A field with dots is a path, and may also be a member of that name at the top level.
    pub(super) fn new(signature: &Signature, options: &DecodeOptions) -> WantedNode {
        WantedNode::with(signature, options, |name| vec![name])
    }

    /// The same where no name has a dot: a feature with dots is a path too, below that of the features.
    pub(super) fn dotted(signature: &Signature, options: &DecodeOptions) -> WantedNode {
        WantedNode::with(signature, options, |name| name.split('.').collect())
    }

    fn with(signature: &Signature, options: &DecodeOptions, path_of: impl Fn(&str) -> Vec<&str>) -> WantedNode {
        let mut root = WantedNode::default();
        let steps = || options.features.split('.').filter(|step| !step.is_empty());
        let mut here = &mut root;
        let mut path = String::new();
        for step in steps() {
            path = if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
            here = here.members.entry(step.to_owned()).or_default();
            here.step = Some(path.clone());
        }
        if path.is_empty() {
            here.members.entry(POSITIONAL.to_owned()).or_default().is_positional = true;
        } else {
            here.is_positional = true;
        }
        for (index, feature) in signature.features.iter().enumerate() {
            let member = here.descend(path_of(&feature.name));
            (member.feature, member.is_positional) = (Some(index), false);
        }
        here.add_aliases();
        for (index, field) in options.fields.iter().enumerate() {
            root.descend(field.split('.')).field = Some(index);
            if field.contains('.') {
                root.descend([field.as_str()]).field = Some(index);
            }
        }
        root
    }

    /// What either of them wants; of two features, or fields, the first.
    pub(super) fn merged(mut self, other: &WantedNode) -> WantedNode {
        if self.feature.is_none() {
            (self.feature, self.is_alias) = (other.feature, other.is_alias);
        }
        self.field = self.field.or(other.field);
        self.is_positional |= other.is_positional;
        self.step = self.step.or_else(|| other.step.clone());
        for (name, member) in &other.members {
            let merged = self.members.remove(name).unwrap_or_default().merged(member);
            self.members.insert(name.clone(), merged);
        }
        self
    }

    /// A feature whose name has blanks around it is found without them, too, unless two features would be. The other way
    /// round is for the decoder: it looks for a name that is wanted nowhere once more without its blanks.
    fn add_aliases(&mut self) {
        let mut aliases: BTreeMap<String, Option<usize>> = BTreeMap::new();
        for (name, member) in &self.members {
            if member.feature.is_some() && name.trim() != name && !self.members.contains_key(name.trim()) {
                aliases.entry(name.trim().to_owned()).and_modify(|found| *found = None).or_insert(member.feature);
            }
        }
        for (name, feature) in aliases.into_iter().filter(|(_, feature)| feature.is_some()) {
            self.members.insert(name, WantedNode { feature, is_alias: true, ..WantedNode::default() });
        }
    }

    /// The node at a path, which is made where it isn't there.
    pub(super) fn descend<'p>(&mut self, path: impl IntoIterator<Item = &'p str>) -> &mut WantedNode {
        path.into_iter().fold(self, |node, step| node.members.entry(step.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{copying, signature};

    #[test]
    fn features_and_fields_share_a_tree() {
        let options = DecodeOptions { features: "payload.after".into(), ..copying(&["id", "payload.op", "payload"]) };
        let root = WantedNode::new(&signature(), &options);
        assert_eq!(root.members.keys().collect::<Vec<_>>(), ["id", "payload", "payload.op"]);
        let payload = &root.members["payload"];
        assert_eq!((payload.field, payload.step.as_deref()), (Some(2), Some("payload")));
        assert_eq!(payload.members["op"].field, Some(1));
        let after = &payload.members["after"];
        assert!(after.is_positional && !payload.is_positional && after.step.as_deref() == Some("payload.after"));
        assert_eq!(after.members["speed"].feature, Some(2));
        let flat = WantedNode::new(&signature(), &copying(&["age"]));
        assert!(flat.members[POSITIONAL].is_positional);
        assert_eq!((flat.members["age"].feature, flat.members["age"].field), (Some(0), Some(0)));
    }

    #[test]
    fn a_feature_with_blanks_around_its_name_is_found_without_them() {
        let mut padded = signature();
        padded.features[0].name = " age".into();
        let root = WantedNode::new(&padded, &DecodeOptions::default());
        assert_eq!((root.members["age"].feature, root.members["age"].is_alias), (Some(0), true));
        assert_eq!((root.members[" age"].feature, root.members[" age"].is_alias), (Some(0), false));
        padded.features[2].name = "age ".into();
        assert!(!WantedNode::new(&padded, &DecodeOptions::default()).members.contains_key("age"), "two are alike");
        padded.features[1].name = "age".into();
        let root = WantedNode::new(&padded, &DecodeOptions::default());
        assert_eq!((root.members["age"].feature, root.members["age"].is_alias), (Some(1), false));
    }
}
