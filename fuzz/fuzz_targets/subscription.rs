//! Any text is a subscription that keeps its text and can be asked about any event, or none.
#![no_main]

use demae_event::{Subscription, SubscriptionSet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str)| {
    let (text, name, event_type) = input;
    if let Ok(read) = text.parse::<Subscription>() {
        assert_eq!(read.as_str(), text);
        let _ = read.is_known();
        let set = SubscriptionSet::new([read]).expect("one entry is enough");
        let _ = set.delivered_name(name, event_type);
    }
});
