//! Names that files and records bring, in messages and tables: readable, bounded, and without effect on a terminal.

use std::borrow::Cow;

/// How many names a message lists, and how much of each.
const LISTED: usize = 10;
const SHOWN_CHARS: usize = 64;

/// Names in quotes, for a message: the first few, each shortened.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let mut text = names.by_ref().take(LISTED).map(shown).collect::<Vec<_>>().join(", ");
    match names.count() {
        0 => {}
        more => text.push_str(&format!(" and {more} more")),
    }
    text
}

/// A name in quotes, shortened.
pub fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}…", &name[..end]),
        None => format!("{name:?}"),
    }
}

/// The text, with escapes for all that a terminal would obey rather than show: control characters, line breaks among them,
/// and marks that turn the direction of writing.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let each = |character: char| {
        let escaped = is_obeyed(character).then(|| character.escape_debug().to_string());
        escaped
            .map(|text| if text.starts_with('\\') { text } else { character.escape_unicode().to_string() })
            .unwrap_or_else(|| character.to_string())
    };
    Cow::Owned(text.chars().map(each).collect())
}

fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_names_are_few_short_and_harmless() {
        assert_eq!(listed(["a", "b\u{1b}[2J\nc"]), r#""a", "b\u{1b}[2J\nc""#);
        let many: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        assert!(listed(many.iter().map(String::as_str)).ends_with("\"9\" and 2 more"));
        assert_eq!(listed(["é".repeat(100).as_str()]), format!("\"{}\"…", "é".repeat(64)));
    }

    #[test]
    fn what_is_text_stays_as_it_is() {
        assert!(matches!(harmless("naïve — \"größe\" 数"), Cow::Borrowed(_)));
        assert_eq!(
            harmless("b\nweir: ok\u{1b}[31m\u{7f}\u{9b}\u{2028}"),
            "b\\nweir: ok\\u{1b}[31m\\u{7f}\\u{9b}\\u{2028}"
        );
    }
}
