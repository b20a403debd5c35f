//! External user ids: one normaliser for links, grants and rules.
//!
//! Identities arrive at run time and are international: no default region is ever applied to them.

use super::{phone, text};
use crate::channel::{Channel, Fact};

/// The longest identity, in characters.
const LONGEST: usize = 256;

/// The canonical external user id on a channel; `None` where the text is none.
///
/// whatsapp and sms: `+digits`. email, `web_widget` and teams: lower case. slack: lower case if it has `@`. telegram:
/// lower case if it starts with `@`. Everything else, also channels outside the catalogue: as it is. All are trimmed,
/// have 1 to 256 characters and no controls. The wildcard `*` is the caller's business.
pub fn canonical(channel: &str, external_user_id: &str) -> Option<String> {
    let channel = Channel::find(channel);
    if channel.is_some_and(|channel| channel.fact == Fact::Phone) {
        return phone::international(external_user_id);
    }
    let id = text::canonical(external_user_id)?;
    if id.is_empty() || id.chars().count() > LONGEST || id.chars().any(char::is_control) {
        return None;
    }
    let folds = match channel.map(|channel| channel.name) {
        Some("email" | "web_widget" | "teams") => true,
        Some("slack") => id.contains('@'),
        Some("telegram") => id.starts_with('@'),
        _ => false,
    };
    Some(if folds {
        id.to_lowercase()
    } else {
        id.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::canonical;
    use crate::channel::CATALOGUE;

    #[test]
    fn each_channel_has_its_own_spelling() {
        for (channel, text, expected) in [
            ("whatsapp", "491701234567", "+491701234567"),
            ("SMS", "0049 170 1234567", "+491701234567"),
            ("email", " Ada@Example.ORG ", "ada@example.org"),
            ("web_widget", "Visitor-7", "visitor-7"),
            ("teams", "ADA@b.co", "ada@b.co"),
            ("slack", "U02ABC", "U02ABC"),
            ("slack", "Ada@B.co", "ada@b.co"),
            ("telegram", "@Ada", "@ada"),
            ("telegram", "Ada", "Ada"),
            ("discord", " 80351110224678912 ", "80351110224678912"),
            ("pager", "X-1", "X-1"),
        ] {
            assert_eq!(
                canonical(channel, text).as_deref(),
                Some(expected),
                "{channel} {text}"
            );
        }
    }

    #[test]
    fn what_identifies_nobody_is_refused() {
        for (channel, text) in [
            ("whatsapp", "ada"),
            ("line", "  "),
            ("line", "a\0b"),
            ("line", "a\nb"),
        ] {
            assert_eq!(canonical(channel, text), None, "{channel} {text:?}");
        }
        assert_eq!(canonical("line", &"x".repeat(257)), None);
    }

    proptest! {
        #[test]
        fn canonical_of_canonical_is_itself(channel in 0..CATALOGUE.len(), text in r"[@+A-Za-z0-9ΑΣİ -]{0,16}|\PC{0,16}") {
            let channel = CATALOGUE[channel].name;
            if let Some(once) = canonical(channel, &text) {
                prop_assert_eq!(canonical(channel, &once), Some(once.clone()));
            }
        }
    }
}
