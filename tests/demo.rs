//! The demo as a person runs it, and its account.

use crate::support::weir::command;

#[test]
fn the_account_of_the_demo_adds_up() {
    let output = command().args(["demo", "--once", "--rate", "4000"]).output().unwrap();
    let output_text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{output_text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output_text.contains("it adds up"), "{output_text}");
    let number = |label: &str| -> f64 {
        let line = output_text.lines().find_map(|line| line.trim_start().strip_prefix(label));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or_else(|| panic!("{label} in\n{output_text}"))
    };
    let (sent, first, second) = (number("in "), number("by version 1"), number("by version 2"));
    let rejected = number("dead-lettered");
    assert_eq!(sent, first + second + rejected);
    assert!(
        first > 0.0 && second > 0.0 && rejected > 0.0,
        "each version predicts, and some records are broken:\n{output_text}"
    );
    assert_eq!((number("lost"), number("twice")), (0.0, 0.0));
    assert!(output_text.contains("strongest drift"), "{output_text}");
    assert!(output_text.contains("temp "), "the weather of the summer isn't the winter's:\n{output_text}");
}
