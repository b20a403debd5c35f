//! What a customer is called: the id, the display name, and the values that a later display name may be made of.

use std::sync::atomic::{AtomicU64, Ordering};

use roster_domain::customer::display_name;
use roster_domain::value::{Profile, SmolStr, Value};

/// The fields that a display name is made of, with their tags: the upper-case one says that the value is the display name.
const PARTS: [(&str, char); 5] = [
    ("full_name", 'f'),
    ("name", 'n'),
    ("first_name", 'a'),
    ("last_name", 'z'),
    ("email", 'e'),
];
/// What ends a value in the text.
const END: char = '\0';

/// Names up to this many bytes are held without an allocation, as those of most people are.
const SHORT: usize = 64;

/// Id and display name.
#[derive(Clone)]
pub(in crate::identity) struct Names {
    text: Text,
    /// Where the id ends.
    id: u32,
    /// Where the display name ends.
    name: u32,
}

#[derive(Clone)]
enum Text {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl Names {
    /// Of somebody whose row is still to be read.
    pub(super) fn unread() -> Self {
        Self::of("", "", "")
    }

    /// Whether they are known: nobody's id is empty.
    pub(super) fn are_read(&self) -> bool {
        self.id > 0
    }

    /// Whether a field is one that names are made of.
    pub(super) fn are_of(field: &str) -> bool {
        PARTS.iter().any(|(part, _)| *part == field)
    }

    /// Names that are only shown.
    pub(in crate::identity) fn shown(customer_user_id: &str, display_name: &str) -> Self {
        Self::of(customer_user_id, display_name, "")
    }

    /// Names that follow the profile.
    pub(super) fn kept(customer_user_id: &str, profile: &Profile) -> Self {
        let display_name = display_name(profile, customer_user_id);
        let mut parts = String::new();
        for (field, tag) in PARTS {
            let Some(value) = profile.get(field).map(Value::as_text) else {
                continue;
            };
            if value == display_name {
                parts.push(tag.to_ascii_uppercase());
            } else if !value.contains(END) {
                parts.push(tag);
                parts.push_str(value);
                parts.push(END);
            }
        }
        Self::of(customer_user_id, &display_name, &parts)
    }

    /// The names after a change of the profile.
    pub(super) fn changed(&self, set: &Profile, cleared: &[SmolStr]) -> Self {
        let is_part = |field: &SmolStr| Self::are_of(field);
        if !self.are_read() || !set.keys().chain(cleared).any(is_part) {
            return self.clone();
        }
        let mut profile = self.parts();
        for field in cleared {
            profile.remove(field);
        }
        let set = set.iter().filter(|(field, _)| is_part(field));
        profile.extend(set.map(|(field, value)| (field.clone(), value.clone())));
        Self::kept(self.customer_user_id(), &profile)
    }

    fn of(customer_user_id: &str, display_name: &str, parts: &str) -> Self {
        let texts = [customer_user_id, display_name, parts];
        Self {
            text: Text::of(texts.concat().as_bytes()),
            id: end(customer_user_id.len()),
            name: end(customer_user_id.len() + display_name.len()),
        }
    }

    /// Names of so many bytes each that are kept in words. Nobody's, where the words are not so many.
    pub(super) fn of_words(words: &[AtomicU64], id: usize, name: usize, parts: usize) -> Self {
        let length = id + name + parts;
        let Some(words) = words.get(..length.div_ceil(8)) else {
            return Self::unread();
        };
        let bytes = words
            .iter()
            .map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let text = if length <= SHORT {
            let mut short = [0; SHORT];
            for (place, bytes) in short.chunks_exact_mut(8).zip(bytes) {
                place.copy_from_slice(&bytes);
            }
            Text::Short {
                length: u8::try_from(length).unwrap_or_default(),
                bytes: short,
            }
        } else {
            let mut long: Vec<u8> = bytes.flatten().collect();
            long.truncate(length);
            Text::Long(long.into())
        };
        Self {
            text,
            id: end(id),
            name: end(id + name),
        }
    }

    /// Everything, as it is kept.
    pub(super) fn text(&self) -> &[u8] {
        match &self.text {
            Text::Short { length, bytes } => &bytes[..usize::from(*length)],
            Text::Long(bytes) => bytes,
        }
    }

    /// The bytes of the id, of the display name, and of the rest.
    pub(super) fn lengths(&self) -> [usize; 3] {
        let (id, name) = (self.id as usize, self.name as usize);
        [id, name - id, self.text().len() - name]
    }

    /// The values that the display name is made of.
    fn parts(&self) -> Profile {
        let mut profile = Profile::new();
        let all = u32::try_from(self.text().len()).unwrap_or(self.name);
        let mut rest = self.piece(self.name, all);
        while let Some(tag) = rest.chars().next() {
            rest = &rest[tag.len_utf8()..];
            let value = if tag.is_ascii_uppercase() {
                self.display_name()
            } else {
                let (value, after) = rest.split_once(END).unwrap_or((rest, ""));
                rest = after;
                value
            };
            let field = PARTS
                .iter()
                .find(|(_, known)| *known == tag.to_ascii_lowercase());
            if let Some((field, _)) = field {
                profile.insert((*field).into(), Value::Text(value.into()));
            }
        }
        profile
    }

    pub(in crate::identity) fn customer_user_id(&self) -> &str {
        self.piece(0, self.id)
    }

    pub(in crate::identity) fn display_name(&self) -> &str {
        self.piece(self.id, self.name)
    }

    /// Pieces begin and end where texts did.
    fn piece(&self, from: u32, to: u32) -> &str {
        let piece = self.text().get(from as usize..to as usize);
        str::from_utf8(piece.unwrap_or_default()).unwrap_or_default()
    }
}

impl Text {
    fn of(text: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text);
                Self::Short {
                    length: u8::try_from(text.len()).unwrap_or_default(),
                    bytes,
                }
            }
            None => Self::Long(text.into()),
        }
    }
}

fn end(length: usize) -> u32 {
    u32::try_from(length).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use roster_domain::value::{Profile, SmolStr, Value};

    use super::Names;

    fn profile(values: &[(&str, &str)]) -> Profile {
        let value = |(field, text): &(&str, &str)| ((*field).into(), Value::Text((*text).into()));
        values.iter().map(value).collect()
    }

    #[test]
    fn the_display_name_follows_every_value_that_it_is_made_of() {
        let mut names = Names::kept(
            "c1",
            &profile(&[("email", "a@b.co"), ("first_name", "Ada")]),
        );
        assert_eq!(
            (names.customer_user_id(), names.display_name()),
            ("c1", "Ada")
        );
        let mut change = |set: &[(&str, &str)], cleared: &[&str]| {
            let cleared: Vec<SmolStr> = cleared.iter().map(SmolStr::new).collect();
            names = names.changed(&profile(set), &cleared);
            names.display_name().to_owned()
        };
        assert_eq!(change(&[("last_name", "Lovelace")], &[]), "Ada Lovelace");
        assert_eq!(change(&[("city", "London")], &[]), "Ada Lovelace");
        assert_eq!(change(&[("full_name", "A. L.")], &["first_name"]), "A. L.");
        assert_eq!(change(&[], &["full_name"]), "Lovelace");
        assert_eq!(change(&[], &["last_name"]), "a@b.co");
        assert_eq!(change(&[], &["email"]), "c1");
    }
}
