//! What a channel answers to the person.

use super::Reason;
use crate::schema::{MatchMessages, Messages};

/// The text for an outcome on a channel, its own or the default one; `None` where the schema has none.
///
/// `{display_name}` and `{channel}` are filled in; what is filled in is not read again.
pub fn message(
    messages: &MatchMessages,
    channel: &str,
    reason: Reason,
    display_name: &str,
) -> Option<String> {
    let text = |messages: &'_ Messages| -> Option<String> { of(messages, reason).cloned() };
    let own = messages.channels.get(channel).and_then(text);
    let template = own.or_else(|| text(&messages.default))?;
    Some(fill(&template, channel, display_name))
}

fn of(messages: &Messages, reason: Reason) -> Option<&String> {
    let text = match reason {
        Reason::Matched => &messages.matched,
        Reason::Unmatched | Reason::Blocked => &messages.unmatched,
        Reason::Ambiguous => &messages.ambiguous,
        Reason::CustomerDisabled | Reason::ConnectorDisabled => &messages.disabled,
        Reason::NoGrant
        | Reason::GrantDisabled
        | Reason::GrantExpired
        | Reason::AgentNotGranted => &messages.no_access,
    };
    text.as_ref()
}

fn fill(template: &str, channel: &str, display_name: &str) -> String {
    let mut filled = String::with_capacity(template.len() + display_name.len());
    let mut rest = template;
    while let Some(place) = rest.find('{') {
        let (before, from) = rest.split_at(place);
        filled.push_str(before);
        rest = if let Some(after) = from.strip_prefix("{display_name}") {
            filled.push_str(display_name);
            after
        } else if let Some(after) = from.strip_prefix("{channel}") {
            filled.push_str(channel);
            after
        } else {
            filled.push('{');
            &from[1..]
        };
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::message;
    use crate::access::Reason;
    use crate::schema::{MatchMessages, Messages};

    #[test]
    fn a_channel_has_its_own_texts_and_those_of_all() {
        let text = |text: &str| Some(text.to_owned());
        let messages = MatchMessages {
            default: Messages {
                matched: text("Hello {display_name}, {unknown} {channel}{"),
                no_access: text("no access"),
                disabled: text("off"),
                ..Messages::default()
            },
            channels: BTreeMap::from([(
                "sms".to_owned(),
                Messages {
                    matched: text("Hi"),
                    unmatched: text("Who are you?"),
                    ..Messages::default()
                },
            )]),
        };
        for (channel, reason, expected) in [
            (
                "line",
                Reason::Matched,
                Some("Hello {channel} & Co, {unknown} line{"),
            ),
            ("sms", Reason::Matched, Some("Hi")),
            ("sms", Reason::Unmatched, Some("Who are you?")),
            ("sms", Reason::Blocked, Some("Who are you?")),
            ("line", Reason::Unmatched, None),
            ("line", Reason::Ambiguous, None),
            ("line", Reason::CustomerDisabled, Some("off")),
            ("line", Reason::ConnectorDisabled, Some("off")),
            ("sms", Reason::NoGrant, Some("no access")),
            ("sms", Reason::GrantDisabled, Some("no access")),
            ("sms", Reason::GrantExpired, Some("no access")),
            ("sms", Reason::AgentNotGranted, Some("no access")),
        ] {
            let found = message(&messages, channel, reason, "{channel} & Co");
            assert_eq!(found.as_deref(), expected, "{channel} {reason:?}");
        }
    }
}
