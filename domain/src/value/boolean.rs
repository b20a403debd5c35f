//! Truth values as people write them.

/// The truth value of a word: true, 1, yes, y, on or false, 0, no, n, off, whatever its case and the blanks around it.
pub fn canonical(text: &str) -> Option<bool> {
    let word = text.trim();
    let is_one_of = |words: [&str; 5]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
    if is_one_of(["true", "1", "yes", "y", "on"]) {
        Some(true)
    } else if is_one_of(["false", "0", "no", "n", "off"]) {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn words_are_read_without_regard_to_case() {
        for word in ["true", "1", " YES", "y", "On"] {
            assert_eq!(canonical(word), Some(true), "{word}");
        }
        for word in ["FALSE", "0", "no ", "N", "off"] {
            assert_eq!(canonical(word), Some(false), "{word}");
        }
        for word in ["", "2", "ja", "truee", "nil"] {
            assert_eq!(canonical(word), None, "{word}");
        }
    }
}
