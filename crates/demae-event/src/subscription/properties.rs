//! What holds for every text, and the prepared matching against the rules as they are written.

use proptest::prelude::*;

use super::*;
use crate::catalogue::EventDefinition;

/// Texts that mean something to the catalogue, so that most cases match something.
fn meaningful() -> impl Strategy<Value = String> {
    let mut texts = vec!["*".to_owned()];
    for event in catalogue::all().iter().chain(catalogue::operational()) {
        texts.extend([event.name, event.later_name, event.event_type].map(str::to_owned));
        for name in [event.name, event.later_name] {
            texts.extend(
                name.match_indices('_')
                    .map(|(at, _)| format!("{}_*", &name[..at])),
            );
        }
    }
    prop::sample::select(texts)
}

fn any_event() -> impl Strategy<Value = &'static EventDefinition> {
    prop::sample::select(
        catalogue::all()
            .iter()
            .chain(catalogue::operational())
            .collect::<Vec<_>>(),
    )
}

/// Weight of `text` for the event, and whether it asks for the later name: rules 1 and 2, one subscription at a time.
fn weight(text: &str, event: &EventDefinition) -> Option<(u8, bool)> {
    let family = |name: &str| {
        text.strip_suffix('*')
            .is_some_and(|prefix| !prefix.is_empty() && name.starts_with(prefix))
    };
    [
        (text == event.name, 4, false),
        (text == event.later_name, 4, true),
        (text == event.event_type, 3, false),
        (family(event.name), 2, false),
        (family(event.later_name), 2, true),
        (text == "*" && !event.is_operational(), 1, false),
    ]
    .into_iter()
    .find_map(|(matches, weight, later)| matches.then_some((weight, later)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn matching_follows_the_rules(
        texts in prop::collection::vec(meaningful(), 1..6),
        event in any_event(),
    ) {
        let set = SubscriptionSet::new(texts.iter().map(|text| text.parse().unwrap())).unwrap();
        // The greatest weight wins; of equal weights the one that does not ask for the later name.
        let best = texts.iter().filter_map(|text| weight(text, event)).max_by_key(|(weight, later)| (*weight, !later));
        let expected = best.map(|(_, later)| if later { event.later_name } else { event.name });
        prop_assert_eq!(set.delivered_name(event.name, event.event_type), expected, "{:?}", texts);
    }

    #[test]
    fn reading_never_panics_and_keeps_the_text(text in "\\PC{0,300}|[A-Z_*]{0,12}|[A-Za-z0-9_.*-]{0,300}") {
        match text.parse::<Subscription>() {
            Ok(read) => {
                prop_assert_eq!(read.as_str(), &text);
                let set = SubscriptionSet::new([read]).unwrap();
                if check_name(&text).is_ok() {
                    prop_assert_eq!(set.delivered_name(&text, "other"), Some(text.as_str()));
                    let by_type = set.delivered_name("other", &text);
                    prop_assert_eq!(by_type, Some("other"));
                }
            }
            Err(_) => prop_assert!(check_name(&text).is_err()),
        }
    }
}
