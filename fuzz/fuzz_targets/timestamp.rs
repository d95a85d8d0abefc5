//! Any text is a time that can be written and read again, or none.
#![no_main]

use demae_event::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(moment) = text.parse::<Timestamp>() {
        let written = moment.to_string();
        let read: Timestamp = written.parse().expect("reads what it wrote");
        assert_eq!(read.to_string(), written);
    }
});
