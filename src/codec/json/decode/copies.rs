//! Where the members to copy are. A field is the name of a member at the top level, or a dotted path to one further
//! within; so they make a tree, and each object on the way to one has its own table of keys.

use std::collections::BTreeMap;

use crate::codec::json::keys::Keys;

/// What is copied of a member, and from within it.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// The index of the field that the member itself is.
    pub(super) field: Option<usize>,
    /// The table for the object that the member may be; none where the features are looked for there too.
    pub(super) inside: Option<usize>,
    /// The fields that are further within: with each value of the member, what an earlier one had is forgotten.
    pub(super) beneath: Vec<usize>,
}

/// A member that is a field, or has some within.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    field: Option<usize>,
    within: BTreeMap<String, Wanted>,
}

impl Wanted {
    /// The tree of these fields. One with a dot may also be the name of a member at the top level.
    pub(super) fn new(fields: &[String]) -> Wanted {
        let mut root = Wanted::default();
        for (index, field) in fields.iter().enumerate() {
            let last = field.split('.').fold(&mut root, |at, step| at.within.entry(step.to_owned()).or_default());
            last.field = Some(index);
            root.within.entry(field.clone()).or_default().field = Some(index);
        }
        root
    }

    /// The member of this name, if there is something to copy of it.
    pub(super) fn at(&self, name: &str) -> Option<&Wanted> {
        self.within.get(name)
    }

    fn fields_within(&self) -> Vec<usize> {
        let each = |wanted: &Wanted| wanted.field.into_iter().chain(wanted.fields_within()).collect::<Vec<_>>();
        self.within.values().flat_map(each).collect()
    }
}

/// All members to copy, and the tables of the objects that have only such members.
#[derive(Debug)]
pub(super) struct Copies {
    pub(super) members: Vec<Copied>,
    pub(super) tables: Vec<Keys>,
    /// The index that the first of the tables will have.
    first: usize,
}

impl Copies {
    pub(super) fn new(first: usize) -> Copies {
        Copies { members: Vec::new(), tables: Vec::new(), first }
    }

    /// The members of one object, by name, with their indices among [`Copies::members`]. What is within the member `step`
    /// belongs to the table of another level.
    pub(super) fn of_object<'w>(&mut self, wanted: &'w Wanted, step: Option<&str>) -> Vec<(&'w str, usize)> {
        let mut members = Vec::new();
        for (name, member) in &wanted.within {
            let inside = (!member.within.is_empty() && step != Some(name)).then(|| {
                let table = Keys::new([], self.of_object(member, None));
                self.tables.push(table);
                self.first + self.tables.len() - 1
            });
            members.push((name.as_str(), self.members.len()));
            self.members.push(Copied { field: member.field, inside, beneath: member.fields_within() });
        }
        members
    }
}
