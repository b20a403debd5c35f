//! Takes secrets out of what is shown: a vendor's message may repeat the key that it refuses.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

/// What stands in the place of a secret.
const HIDDEN: &str = "[redacted]";
/// Shorter secrets are no secrets, and would tear holes into every message.
const SHORTEST: usize = 4;
/// The most characters of a vendor's message that are passed on.
const LONGEST: usize = 400;

/// The secrets of a session, in every spelling in which they may come back.
#[derive(Clone, Default)]
pub struct Redactor {
    spellings: Vec<SecretString>,
}

impl Redactor {
    /// Remembers a secret. A multi-line one, such as a private key, counts line by line too.
    pub fn add(&mut self, secret: &str) {
        let escaped = secret.replace('\n', "\\n");
        let lines = secret.lines().chain(secret.split("\\n"));
        for part in lines.chain([secret, escaped.as_str()]) {
            let part = part.trim();
            if part.len() < SHORTEST
                || part.starts_with("-----") && !part.contains('\n') && part.len() < 64
            {
                continue;
            }
            self.spelling(part.to_owned());
            self.spelling(percent(part));
            self.spelling(STANDARD.encode(part));
            self.spelling(URL_SAFE_NO_PAD.encode(part));
        }
        // The longest first, so that no part of a secret is left beside a hole.
        self.spellings
            .sort_by_key(|spelling| std::cmp::Reverse(spelling.expose_secret().len()));
    }

    fn spelling(&mut self, text: String) {
        if !self
            .spellings
            .iter()
            .any(|known| known.expose_secret() == text)
        {
            self.spellings.push(text.into());
        }
    }

    /// A message as it may be shown: without secrets, on one line, not endless.
    pub fn clean(&self, message: &str) -> String {
        let mut clean = message.to_owned();
        for spelling in &self.spellings {
            if clean.contains(spelling.expose_secret()) {
                clean = clean.replace(spelling.expose_secret(), HIDDEN);
            }
        }
        let words: Vec<&str> = clean.split_whitespace().collect();
        let line = words.join(" ");
        match line.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// A secret as a query has it.
fn percent(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::Redactor;

    #[test]
    fn a_secret_is_hidden_in_every_spelling() {
        let mut redactor = Redactor::default();
        redactor.add("s3cret/key+1");
        redactor.add("-----BEGIN PRIVATE KEY-----\nMIIEvQ\nabcdef\n-----END PRIVATE KEY-----\n");
        let basic = STANDARD.encode("s3cret/key+1");
        for text in [
            "s3cret/key+1",
            "s3cret%2Fkey%2B1",
            &basic,
            "MIIEvQ",
            "abcdef",
        ] {
            let clean = redactor.clean(&format!("no such key: {text}, really"));
            assert_eq!(clean, "no such key: [redacted], really");
        }
    }

    #[test]
    fn a_message_is_one_line_of_bounded_length() {
        let redactor = Redactor::default();
        assert_eq!(redactor.clean(" a\n\tb "), "a b");
        assert!(redactor.clean(&"ä".repeat(5_000)).chars().count() <= 401);
    }
}
