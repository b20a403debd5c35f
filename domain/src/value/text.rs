//! Free text and ids.

use crate::Problem;

/// The longest customer id, in characters.
const LONGEST_ID: usize = 256;

/// The text trimmed; `None` where it holds U+0000, which Postgres cannot keep. May be empty.
pub fn canonical(text: &str) -> Option<&str> {
    let trimmed = text.trim();
    (!trimmed.contains('\0')).then_some(trimmed)
}

/// Checks a customer id: 1 to 256 characters once trimmed, none of them a control. Case stays.
pub fn customer_user_id(text: &str) -> Result<String, Problem> {
    let id = text.trim();
    if id.is_empty() {
        return Err(Problem::new(
            ["customer_user_id"],
            "value_required",
            "an id is required",
        ));
    }
    if id.len() > LONGEST_ID && id.chars().count() > LONGEST_ID {
        return Err(Problem::new(
            ["customer_user_id"],
            "text_too_long",
            "an id has at most 256 characters",
        ));
    }
    if id.chars().any(char::is_control) {
        return Err(Problem::new(
            ["customer_user_id"],
            "text_control",
            "an id has no control characters",
        ));
    }
    Ok(id.into())
}

/// Whether a character takes no room and is pasted along by accident: joiners, direction marks, the byte order mark.
pub(crate) const fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::{canonical, customer_user_id};

    #[test]
    fn ids_are_trimmed_and_keep_their_case() {
        assert_eq!(
            customer_user_id("  Ada Lovelace\n").as_deref(),
            Ok("Ada Lovelace")
        );
    }

    #[test]
    fn an_id_has_1_to_256_characters_and_no_controls() {
        assert!(customer_user_id(&"ä".repeat(256)).is_ok());
        let kind = |text: &str| customer_user_id(text).expect_err("refused").kind;
        assert_eq!(kind(&"ä".repeat(257)), "text_too_long");
        assert_eq!(kind(" \t"), "value_required");
        assert_eq!(kind("a\0b"), "text_control");
        assert_eq!(kind("a\u{85}b"), "text_control");
    }

    #[test]
    fn free_text_may_hold_any_control_but_nul() {
        assert_eq!(canonical(" a\nb "), Some("a\nb"));
        assert_eq!(canonical("a\0b"), None);
    }
}
