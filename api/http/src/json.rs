//! The JSON of a request, and the scope that every request carries.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use axum::extract::Query;
use axum::http::Uri;
use roster_domain::{Problem, Scope};
use serde::de::value::{CowStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::finding::{explain, path};
use crate::{ApiError, Code};

/// The scope of a body; nothing else of it is judged.
pub(crate) fn scope(body: &[u8]) -> Result<Scope, ApiError> {
    let ids: ScopeIds = parse_with(body)?;
    ids.scope("body")
}

/// The scope of a query string; nothing else of it is judged.
pub(crate) fn scope_of_query(uri: &Uri) -> Result<Scope, ApiError> {
    let ids: ScopeIds = parse_query(uri)?;
    ids.scope("query")
}

/// The body without its scope. A member that `T` does not know is refused.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    if has_nul(body) {
        return Err(ApiError::body(Problem::new::<_, &str>(
            [],
            "nul",
            "a NUL character is not accepted",
        )));
    }
    parse_with::<WithoutScope<T>>(body).map(|outer| outer.0)
}

/// The query string without its scope. A member that `T` does not know is refused.
pub(crate) fn options<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    parse_query::<WithoutScope<T>>(uri).map(|outer| outer.0)
}

/// The body, whole, for the few requests without a scope.
pub(crate) fn parse_with<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        if !error.is_data() {
            let message = format!(
                "the body is not valid JSON (line {}, column {})",
                error.line(),
                error.column()
            );
            return ApiError::body(Problem::new::<_, &str>([], "json_invalid", message));
        }
        // Only a failure pays for the second pass, which follows the path to the member.
        let mut json = serde_json::Deserializer::from_slice(body);
        match serde_path_to_error::deserialize::<_, T>(&mut json) {
            Ok(_) => ApiError::body(explain(Vec::new(), &error.to_string())),
            Err(error) => ApiError::body(explain(path(error.path()), &error.inner().to_string())),
        }
    })
}

/// What members of a body say that were taken apart before.
///
/// # Errors
/// As for a whole body: what is wrong, and where.
pub fn members<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, ApiError> {
    serde_path_to_error::deserialize::<_, T>(Value::Object(members))
        .map_err(|error| ApiError::body(explain(path(error.path()), &error.inner().to_string())))
}

fn parse_query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let object = query_object(uri)?;
    serde_path_to_error::deserialize::<_, T>(object).map_err(|error| {
        let problem = explain(path(error.path()), &error.inner().to_string());
        ApiError::Invalid(vec![problem.under("query")])
    })
}

/// The pairs of a query string as a JSON object: `true`, `false` and the empty text are what they look like.
fn query_object(uri: &Uri) -> Result<Value, ApiError> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_| ApiError::new(Code::BadRequest, "the query is malformed"))?;
    let mut object = Map::new();
    for (name, text) in pairs.0 {
        let value = match text.as_str() {
            "" => Value::Null,
            "true" => true.into(),
            "false" => false.into(),
            _ => text.into(),
        };
        if object.insert(name, value).is_some() {
            let problem = Problem::new::<_, &str>([], "duplicate", "a parameter is given twice");
            return Err(ApiError::Invalid(vec![problem.under("query")]));
        }
    }
    Ok(object.into())
}

/// Whether a text of the JSON has an escaped NUL: Postgres cannot keep one. A bare NUL is no JSON at all.
fn has_nul(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = &rest[at + 1..];
        if escape.starts_with(b"u0000") {
            return true;
        }
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the members of the wire")]
struct ScopeIds {
    account_id: Option<String>,
    org_id: Option<String>,
    project_id: Option<String>,
}

impl ScopeIds {
    fn scope(&self, place: &str) -> Result<Scope, ApiError> {
        let ids = [
            ("account_id", &self.account_id),
            ("org_id", &self.org_id),
            ("project_id", &self.project_id),
        ];
        let missing: Vec<Problem> = ids
            .into_iter()
            .filter(|(_, id)| id.is_none())
            .map(|(name, _)| Problem::new([place, name], "missing", "a required member is missing"))
            .collect();
        match ids.map(|(_, id)| id.as_deref()) {
            [Some(account), Some(org), Some(project)] => Scope::parse(account, org, project)
                .map_err(|problems| {
                    ApiError::Invalid(
                        problems
                            .into_iter()
                            .map(|problem| problem.under(place))
                            .collect(),
                    )
                }),
            _ => Err(ApiError::Invalid(missing)),
        }
    }
}

/// `T` from an object that also has the three members of the scope: serde's `flatten` would let unknown members pass.
struct WithoutScope<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for WithoutScope<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(ObjectVisitor(PhantomData))
            .map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(OtherMembers {
            map,
            seen: [false; 3],
        }))
    }
}

/// The members of an object less those of the scope.
struct OtherMembers<A> {
    map: A,
    seen: [bool; 3],
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for OtherMembers<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(Name(name)) = self.map.next_key()? {
            let Some(place) = ["account_id", "org_id", "project_id"]
                .iter()
                .position(|id| *id == name)
            else {
                return seed.deserialize(CowStrDeserializer::new(name)).map(Some);
            };
            if std::mem::replace(&mut self.seen[place], true) {
                return Err(A::Error::duplicate_field(
                    ["account_id", "org_id", "project_id"][place],
                ));
            }
            self.map.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// The name of a member, borrowed where it has no escapes. Read by hand, as a derived form would hide it from the path
/// of an error.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a member")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::{has_nul, options, parse, scope};
    use crate::ApiError;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Request {
        customer_user_id: String,
        #[serde(default)]
        enabled: Option<bool>,
        #[serde(default)]
        profile: Option<Box<RawValue>>,
    }

    const SCOPE: &str = r#""account_id":"a","org_id":"o","project_id":"p""#;

    fn refusal(members: &str) -> String {
        let body = format!("{{{SCOPE},{members}}}");
        parse::<Request>(body.as_bytes())
            .expect_err("the body is wrong")
            .detail()
            .to_string()
    }

    #[test]
    fn the_scope_is_read_from_among_the_members() {
        let body = format!(r#"{{"customer_user_id":"c","profile":{{"n":1.10}},{SCOPE}}}"#);
        assert_eq!(
            scope(body.as_bytes()).map(|scope| scope.to_string()).ok(),
            Some("a/o/p".into())
        );
        let request: Request = parse(body.as_bytes()).expect("the body is right");
        assert_eq!(
            (request.customer_user_id.as_str(), request.enabled),
            ("c", None)
        );
        assert_eq!(
            request.profile.map(|raw| raw.get().to_owned()).as_deref(),
            Some(r#"{"n":1.10}"#)
        );
    }

    #[test]
    fn a_missing_scope_names_each_id() {
        let error = scope(br#"{"org_id":"o"}"#).expect_err("two are missing");
        insta::assert_snapshot!(error.detail(), @r#"[{"loc":["body","account_id"],"msg":"a required member is missing","type":"missing"},{"loc":["body","project_id"],"msg":"a required member is missing","type":"missing"}]"#);
    }

    #[test]
    fn what_is_wrong_is_named_and_never_repeated() {
        insta::assert_snapshot!(refusal(r#""serach":"x""#), @r#"[{"loc":["body","serach"],"msg":"this member is not known here","type":"extra_forbidden"}]"#);
        insta::assert_snapshot!(refusal(r#""enabled":true"#), @r#"[{"loc":["body","customer_user_id"],"msg":"a required member is missing","type":"missing"}]"#);
        insta::assert_snapshot!(refusal(r#""customer_user_id":"c","enabled":"secret, expected secret""#), @r#"[{"loc":["body","enabled"],"msg":"expected a boolean","type":"type"}]"#);
        insta::assert_snapshot!(refusal(r#""customer_user_id":"c","customer_user_id":"d""#), @r#"[{"loc":["body","customer_user_id"],"msg":"this member is given twice","type":"duplicate"}]"#);
        insta::assert_snapshot!(refusal(r#""customer_user_id":"a\u0000""#), @r#"[{"loc":["body"],"msg":"a NUL character is not accepted","type":"nul"}]"#);
    }

    #[test]
    fn broken_json_says_where() {
        for body in [
            &b"{"[..],
            b"",
            b"\xff\xfe",
            b"{\"\xff\":1}",
            b"{\"enabled\":tru",
        ] {
            let error = parse::<Request>(body).expect_err("the body is broken");
            assert!(
                error.detail().to_string().contains("json_invalid"),
                "{}",
                error.detail()
            );
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(
            parse::<Request>(deep.as_bytes()),
            Err(ApiError::Invalid(_))
        ));
    }

    #[test]
    fn an_escaped_backslash_is_no_nul() {
        assert!(has_nul(br#""\u0000""#));
        assert!(!has_nul(br#""\\u0000""#));
        assert!(has_nul(br#""\\\u0000""#));
        assert!(!has_nul(br#""\u0001""#));
    }

    #[test]
    fn options_come_from_the_query() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Options {
            #[serde(default)]
            dry_run: Option<bool>,
            #[serde(default)]
            provider: Option<String>,
        }
        let uri = |query: &str| {
            format!("/x?account_id=a&org_id=o&project_id=p&{query}")
                .parse::<Uri>()
                .expect("a URI")
        };
        let read: Options = options(&uri("dry_run=true&provider=")).expect("the options are right");
        assert_eq!((read.dry_run, read.provider), (Some(true), None));
        let error = options::<Options>(&uri("dryrun=1")).expect_err("unknown");
        insta::assert_snapshot!(error.detail(), @r#"[{"loc":["query","dryrun"],"msg":"this member is not known here","type":"extra_forbidden"}]"#);
    }
}
