//! Any bytes are an envelope or none; the event of one is the same after it was written and read again.
#![no_main]

use demae_cdc::envelope::{Envelope, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Envelope::Event(event)) = decode(bytes) else {
        return;
    };
    let Ok(Envelope::Event(again)) = decode(&encode(&event)) else {
        panic!("cannot read what it wrote");
    };
    assert_eq!((again.id, again.scope), (event.id, event.scope));
    assert_eq!(again.created_at, event.created_at);
    assert_eq!(again.data.get(), event.data.get());
});
