//! Strangers: clients without a token, each from a loopback address of its own draw, so that the program can tell them
//! from the bystander.

mod door;
mod frames;
mod hang_ups;
mod http2;
mod silence;
mod slow_readers;
pub(super) mod slow_requests;
mod unknown_tokens;

use std::net::SocketAddr;

pub(super) use self::door::Door;
use super::actor::Cast;

/// Lets all strangers begin.
pub(super) fn enter(cast: &mut Cast, server: SocketAddr) {
    let door = Door { server };
    cast.add(&unknown_tokens::UnknownTokens(door));
    cast.add(&hang_ups::HangUps(door));
    cast.add(&slow_requests::SlowHeads(door));
    cast.add(&slow_requests::SlowBodies(door));
    cast.add(&silence::Silence(door));
    cast.add(&slow_readers::SlowReaders(door));
    cast.add(&http2::Http2Floods(door));
}
