use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Filled, Inputs};
use crate::value::{Profile, Value};

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn profile(of: &[(&str, &str)]) -> Profile {
    pairs(of)
        .into_iter()
        .map(|(name, value)| (name.into(), Value::Text(value.into())))
        .collect()
}

fn filled(invoker: &[(&str, &str)], llm: &[(&str, &str)]) -> Filled {
    let data = profile(&[("customer_user_id", "u1"), ("email", "ada@b.co")]);
    let inputs = Inputs::read(pairs(invoker), pairs(llm)).expect("good names");
    inputs.fill(&data)
}

#[test]
fn the_platform_says_whose_data_and_the_model_fills_the_rest() {
    let ids = [("user_id", "customer_user_id")];
    for (invoker, llm, injected, kept, dropped) in [
        // The model names somebody else.
        (
            &ids[..],
            &[("user_id", "u2"), ("city", "Ulm")][..],
            &[("user_id", "u1")][..],
            &[("city", "Ulm")][..],
            &["user_id"][..],
        ),
        // The model says nothing about it.
        (
            &ids[..],
            &[("city", "Ulm")][..],
            &[("user_id", "u1")][..],
            &[("city", "Ulm")][..],
            &[][..],
        ),
        // Nothing is the platform's.
        (
            &[][..],
            &[("user_id", "u2")][..],
            &[][..],
            &[("user_id", "u2")][..],
            &[][..],
        ),
        // The person has no such value: the input stays empty and is still not the model's.
        (
            &[("phone", "phone"), ("mail", "email")][..],
            &[("phone", "+49 1"), ("a", "b")][..],
            &[("mail", "ada@b.co")][..],
            &[("a", "b")][..],
            &["phone"][..],
        ),
        // One field may fill two inputs; names differ by case.
        (
            &[("a", "email"), ("b", "email")][..],
            &[("A", "x"), ("b", "y")][..],
            &[("a", "ada@b.co"), ("b", "ada@b.co")][..],
            &[("A", "x")][..],
            &["b"][..],
        ),
        // An input that is named as a field of the profile is not the platform's for that.
        (
            &ids[..],
            &[("email", "x")][..],
            &[("user_id", "u1")][..],
            &[("email", "x")][..],
            &[][..],
        ),
    ] {
        let filled = filled(invoker, llm);
        let expected: BTreeMap<String, Value> = pairs(injected)
            .into_iter()
            .map(|(input, value)| (input, Value::Text(value.into())))
            .collect();
        assert_eq!(filled.injected, expected, "{invoker:?} {llm:?}");
        assert_eq!(filled.kept, pairs(kept).into_iter().collect());
        assert_eq!(filled.dropped, dropped);
    }
}

#[test]
fn a_call_that_may_not_be_made_gets_nothing_and_still_tells_what_was_dropped() {
    let invoker = pairs(&[("user_id", "customer_user_id")]);
    let llm = pairs(&[("user_id", "u2"), ("city", "Ulm")]);
    let refused = Inputs::read(invoker, llm).expect("good names").refuse();
    assert_eq!(
        (refused.injected.len(), refused.kept.len(), refused.dropped),
        (0, 0, vec!["user_id".to_owned()])
    );
}

#[test]
fn bad_names_are_refused_without_being_repeated() {
    let long = "x".repeat(129);
    for bad in ["", " a", "a ", "a\nb", "\0", long.as_str()] {
        for (invoker, llm, places) in [
            (&[(bad, "email")][..], &[][..], &["invoker_fields"][..]),
            (&[("email", bad)][..], &[][..], &["invoker_fields"][..]),
            (&[][..], &[(bad, "x")][..], &["llm_fields"][..]),
            (
                &[(bad, bad)][..],
                &[(bad, "x")][..],
                &["invoker_fields", "llm_fields"][..],
            ),
        ] {
            let problems = Inputs::read(pairs(invoker), pairs(llm)).expect_err("bad names");
            let found: Vec<&str> = problems.iter().map(|found| found.loc[0].as_str()).collect();
            assert_eq!(found, places, "{bad:?}");
            assert!(problems.iter().all(|found| found.kind == "name_invalid"));
        }
    }
    let many = |count: usize| (0..count).map(|number| (number.to_string(), "x".to_owned()));
    assert!(Inputs::read(many(256), many(256)).is_ok());
    let problems = Inputs::read(many(257), many(257)).expect_err("too many");
    assert_eq!(problems.len(), 2);
    assert!(problems.iter().all(|found| found.kind == "too_many_fields"));
    let said = |bytes: usize| [("x".to_owned(), "1".repeat(bytes - 1))];
    assert!(Inputs::read([], said(65_536)).is_ok());
    let problems = Inputs::read([], said(65_537)).expect_err("too much");
    assert_eq!(problems[0].kind, "fields_too_large");
}

#[test]
fn debug_shows_names_only() {
    let filled = filled(&[("user_id", "customer_user_id")], &[("note", "secret")]);
    let shown = format!("{filled:?}");
    assert!(shown.contains("user_id") && !shown.contains("u1") && !shown.contains("secret"));
}

proptest! {
    #[test]
    fn no_input_of_the_platform_is_ever_the_models(
        invoker in proptest::collection::btree_map("[a-e]", "[a-e]", 0..5),
        llm in proptest::collection::btree_map("[a-e]", "[x-z]", 0..5),
        data in proptest::collection::btree_map("[a-e]", "[0-9]", 0..5),
    ) {
        let profile: Profile = data.iter().map(|(name, value)| (name.into(), Value::Text(value.into()))).collect();
        let inputs = Inputs::read(invoker.clone(), llm.clone()).expect("good names");
        let filled = inputs.clone().fill(&profile);
        let kept: BTreeSet<&String> = filled.kept.keys().collect();
        let injected: BTreeSet<&String> = filled.injected.keys().collect();
        prop_assert!(kept.is_disjoint(&injected));
        prop_assert!(kept.iter().all(|input| !invoker.contains_key(*input)));
        // What the model said is kept as it is or told as dropped, and nothing else is.
        let mut said: Vec<String> = filled.kept.keys().cloned().chain(filled.dropped.clone()).collect();
        said.sort();
        prop_assert_eq!(said, llm.keys().cloned().collect::<Vec<_>>());
        prop_assert!(filled.kept.iter().all(|(input, value)| llm.get(input) == Some(value)));
        // What is injected is the person's, and all of it that there is.
        let expected: BTreeMap<String, Value> = invoker
            .iter()
            .filter_map(|(input, field)| Some((input.clone(), profile.get(field.as_str())?.clone())))
            .collect();
        prop_assert_eq!(&filled.injected, &expected);
        let refused = inputs.refuse();
        prop_assert_eq!(&refused.dropped, &filled.dropped);
        prop_assert!(refused.kept.is_empty() && refused.injected.is_empty());
    }
}
