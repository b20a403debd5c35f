//! Server versions as programs print them.

use std::fmt;

/// A server's version; parts that were not printed are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
    /// The patch number.
    pub patch: u32,
}

/// The oldest PostgreSQL that Roster runs on.
pub const OLDEST_POSTGRES: Version = Version::new(15, 0, 0);

/// The oldest nats-server that Roster runs on: 2.9 delivers wrong messages to a consumer with
/// several filter subjects.
pub const OLDEST_NATS: Version = Version::new(2, 10, 0);

impl Version {
    /// A version from its three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// Finds the first version in what a program prints, such as
    /// `postgres (PostgreSQL) 15.12 (Debian 15.12-0+deb12u2)`, `nats-server: v2.10.7` or `18beta1`.
    pub fn parse(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(Self::parse_word)
    }

    fn parse_word(word: &str) -> Option<Self> {
        let mut rest = word.strip_prefix('v').unwrap_or(word);
        let mut numbers = [0; 3];
        for (place, number) in numbers.iter_mut().enumerate() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                if place == 0 {
                    return None;
                }
                break;
            }
            *number = rest[..digits].parse().ok()?;
            match rest[digits..].strip_prefix('.') {
                Some(after) => rest = after,
                None => break,
            }
        }
        let [major, minor, patch] = numbers;
        Some(Self {
            major,
            minor,
            patch,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 {
            write!(f, ".{}", self.patch)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_what_the_servers_print() {
        for (text, expected) in [
            (
                "postgres (PostgreSQL) 15.12 (Debian 15.12-0+deb12u2)",
                Version::new(15, 12, 0),
            ),
            ("postgres (PostgreSQL) 18.6", Version::new(18, 6, 0)),
            ("postgres (PostgreSQL) 18beta1", Version::new(18, 0, 0)),
            ("nats-server: v2.10.7", Version::new(2, 10, 7)),
            ("nats-server: v2.12.0-RC.3", Version::new(2, 12, 0)),
            ("2.9.10", Version::new(2, 9, 10)),
        ] {
            assert_eq!(Version::parse(text), Some(expected), "{text}");
        }
        assert_eq!(Version::parse("command not found"), None);
        assert_eq!(Version::parse(""), None);
    }

    #[test]
    fn versions_are_compared_by_number_and_not_by_letter() {
        assert!(Version::new(2, 9, 10) < OLDEST_NATS);
        assert!(Version::new(2, 10, 0) >= OLDEST_NATS);
        assert!(Version::new(14, 18, 0) < OLDEST_POSTGRES);
    }

    #[test]
    fn a_patch_of_zero_is_not_printed() {
        assert_eq!(Version::new(15, 12, 0).to_string(), "15.12");
        assert_eq!(Version::new(2, 15, 1).to_string(), "2.15.1");
    }
}
