//! What a decoding error says about a member, in words that never repeat the input.

use roster_domain::Problem;
use serde_path_to_error::Segment;

/// The place of an error in its document.
pub(crate) fn path(path: &serde_path_to_error::Path) -> Vec<String> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => is_name(key).then(|| key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// Names may be shown; a long or odd one could be a value in the wrong place.
fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A finding from the text of a decoding error, whose own words may repeat the input. What stands behind the last
/// `expected` comes from our types.
pub(crate) fn explain(mut loc: Vec<String>, text: &str) -> Problem {
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    let expected = text
        .rsplit_once(", expected ")
        .map(|(_, expected)| expected);
    let named = |prefix: &str| {
        let rest = text.strip_prefix(prefix)?;
        rest.split_once('`')
            .map(|(name, _)| name.to_owned())
            .filter(|name| is_name(name))
    };
    if text.starts_with("missing field `") {
        loc.extend(named("missing field `"));
        Problem::new(loc, "missing", "a required member is missing")
    } else if text.starts_with("unknown field `") {
        let name = named("unknown field `");
        if name.is_some() && loc.last() != name.as_ref() {
            loc.extend(name);
        }
        Problem::new(loc, "extra_forbidden", "this member is not known here")
    } else if text.starts_with("duplicate field `") {
        let name = named("duplicate field `");
        if name.is_some() && loc.last() != name.as_ref() {
            loc.extend(name);
        }
        Problem::new(loc, "duplicate", "this member is given twice")
    } else if let Some(expected) = expected {
        let kind = if text.starts_with("unknown variant") {
            "enum"
        } else {
            "type"
        };
        Problem::new(loc, kind, format!("expected {expected}"))
    } else {
        Problem::new(
            loc,
            "value_error",
            "the value has another form than this member takes",
        )
    }
}
