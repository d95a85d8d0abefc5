//! Bytes of a replication stream: the decoder, and what is made of a row or a message.
#![no_main]

use bytes::Bytes;
use demae_cdc::{
    Mapping, Preset,
    mapping::{Layout, Place, Speaker, message_event},
    pgoutput::{Column, Message, decode, values},
};
use demae_event::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let now = Timestamp::from_secs(1_790_000_000);
    let place = Place { committed_at: now, number: 0 };
    let speaker = Speaker { source: "fuzz", organization: None };
    let _ = message_event(bytes, "0/0", now, speaker);
    match decode(&Bytes::copy_from_slice(bytes)) {
        Ok(Message::Relation(relation)) => {
            for preset in Preset::ALL {
                let _ = Layout::of_relation(&Mapping::from(preset), "fuzz", relation.clone());
            }
        }
        Ok(Message::Insert(insert)) => {
            let columns = ["id", "organization_id", "event_name", "event_type", "payload", "headers", "created_at"];
            let columns = columns.map(Column::text).to_vec();
            let layout = Layout::new(&Mapping::from(Preset::Demae), "fuzz", columns);
            if let (Ok(layout), Ok(row)) = (layout, values(&insert.tuple)) {
                let _ = layout.event(&row, place);
                let _ = layout.describe(&row);
            }
        }
        Ok(Message::Emitted(emitted)) => {
            let _ = message_event(&emitted.content, &emitted.position.to_string(), now, speaker);
        }
        Ok(Message::Begin { .. } | Message::Commit { .. } | Message::Other) | Err(_) => {}
    }
});
