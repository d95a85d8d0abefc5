//! Any text is an identifier that is read back from what it writes, or none.
#![no_main]

use demae_event::{EndpointId, EventId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(id) = EventId::from_any(text) {
        assert_eq!(EventId::from_any(&id.to_string()), Ok(id));
    }
    if let Ok(id) = text.parse::<EndpointId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
});
