//! E-mail addresses.

use super::text::is_invisible;

/// The longest address that mail can carry (RFC 5321 §4.5.3.1.3), in bytes.
const LONGEST: usize = 254;

/// The address trimmed and lower-cased, if it reads `local@domain.tld`.
///
/// The local part may hold anything but blanks, controls and the characters that RFC 5322 reserves; the domain has at
/// least two labels, and the last one is not a number. Letters beyond ASCII are allowed in both (RFC 6531).
pub fn canonical(text: &str) -> Option<String> {
    let trimmed = text.trim_matches(|letter: char| letter.is_whitespace() || is_invisible(letter));
    let address = if trimmed.is_ascii() {
        trimmed.to_ascii_lowercase()
    } else {
        trimmed.to_lowercase()
    };
    let (local, domain) = address.split_once('@')?;
    (address.len() <= LONGEST && is_local(local) && is_domain(domain)).then_some(address)
}

fn is_local(local: &str) -> bool {
    !local.is_empty()
        && local.chars().all(|letter| {
            !letter.is_whitespace()
                && !letter.is_control()
                && !is_invisible(letter)
                && !"@<>()[]\\,;:\"".contains(letter)
        })
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|letter| {
                letter == '-'
                    || letter.is_ascii_alphanumeric()
                    || (!letter.is_ascii() && is_printed(letter))
            })
    };
    match domain.rsplit_once('.') {
        Some((_, last)) => {
            domain.split('.').all(is_label)
                && last.chars().count() >= 2
                && !last.bytes().all(|byte| byte.is_ascii_digit())
        }
        None => false,
    }
}

fn is_printed(letter: char) -> bool {
    !letter.is_whitespace() && !letter.is_control() && !is_invisible(letter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::canonical;

    #[test]
    fn addresses_are_trimmed_and_lower_cased() {
        assert_eq!(
            canonical(" Ada.Lovelace+x@Example.ORG\t").as_deref(),
            Some("ada.lovelace+x@example.org")
        );
        assert_eq!(
            canonical("\u{feff}o'neil@b.co").as_deref(),
            Some("o'neil@b.co")
        );
        assert_eq!(
            canonical("JÖRG@MÜLLER.DE").as_deref(),
            Some("jörg@müller.de")
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "", "ada", "ada@", "@b.co", "ada@b", "a@b@c.de", "a b@c.de", "a@b .de", "a@b..de",
            "a@.de", "a@b.de.", "a@-b.de", "a@b.1", "<a@b.de>", "a@b.d", "a,b@c.de", "a\0@b.de",
            "a@b_c.de",
        ] {
            assert_eq!(canonical(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn canonical_of_canonical_is_itself(text in r"\PC{0,12}@\PC{1,12}\.\PC{2,4}|\s*[A-Za-zÀ-ž.]{1,8}@[A-Za-zΑ-Ω]{1,8}\.[a-zİ]{2,3}\s*") {
            if let Some(once) = canonical(&text) {
                prop_assert_eq!(canonical(&once), Some(once.clone()));
            }
        }
    }
}
