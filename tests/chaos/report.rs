//! What is printed at the end: tables in Markdown, with all that it takes to run it again.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::fault::Fault;
use crate::run::{Delivery, Report};
use crate::support::provenance::{commit, machine, today};

/// A run that is to be right.
pub(crate) struct Summary<'t> {
    pub(crate) delivery: Delivery,
    pub(crate) seed: u64,
    pub(crate) brokers: usize,
    pub(crate) records: usize,
    pub(crate) faults: &'t [Fault],
    pub(crate) report: &'t Report,
    /// The command that runs it again.
    pub(crate) command: &'t str,
}

impl Summary<'_> {
    /// As a page.
    pub(crate) fn page(&self) -> String {
        let Summary { delivery, seed, brokers, records, faults, report, command } = self;
        let verdict = &report.verdict;
        let mut page = format!("# Chaos, `{}`, {}\n\n", delivery.as_str(), today());
        let brokers = if *brokers == 1 { "one broker".to_owned() } else { format!("{brokers} brokers") };
        let facts = [
            ("command", format!("`{command}`")),
            ("seed", seed.to_string()),
            ("commit", commit()),
            ("machine", machine()),
            ("Kafka", brokers),
            ("took", format!("{:.0} s", report.took.as_secs_f64())),
        ];
        page.push_str("| | |\n| --- | --- |\n");
        facts.iter().for_each(|(name, value)| writeln!(page, "| {name} | {value} |").unwrap());

        let mut kinds: BTreeMap<_, usize> = BTreeMap::new();
        faults[..report.faults].iter().for_each(|fault| *kinds.entry(fault.kind).or_default() += 1);
        page.push_str("\n| fault | times |\n| --- | --- |\n");
        kinds.iter().for_each(|(kind, times)| writeln!(page, "| {} | {times} |", kind.as_str()).unwrap());

        page.push_str("\n| delivery | faults | records | lost | doubled | out of order | wrong | dead letters expected | found |\n");
        page.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
        let name = delivery.as_str();
        let numbers = [
            report.faults,
            *records,
            verdict.lost,
            verdict.doubled,
            verdict.out_of_order,
            verdict.wrong,
            verdict.dead_letters_expected,
            verdict.dead_letters_found,
        ];
        writeln!(page, "| `{name}` | {} |", numbers.map(|number| number.to_string()).join(" | ")).unwrap();
        for trouble in verdict.examples.iter().filter(|_| !self.is_right()).chain(&report.complaints) {
            writeln!(page, "\n- {trouble}").unwrap();
        }
        page
    }

    /// Whether weir kept what it promises.
    pub(crate) fn is_right(&self) -> bool {
        let verdict = &self.report.verdict;
        verdict.lost == 0
            && (verdict.doubled == 0 || self.delivery == Delivery::AtLeastOnce)
            && verdict.out_of_order == 0
            && verdict.wrong == 0
            && verdict.dead_letters_found == verdict.dead_letters_expected
            && self.report.complaints.is_empty()
    }

    /// Writes the page into this folder.
    pub(crate) fn keep(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(format!("{}-{}.md", today(), self.delivery.as_str()));
        fs::write(&path, self.page()).unwrap();
        println!("written to {}", path.display());
    }
}
