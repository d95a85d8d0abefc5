//! What every [`demae_store::Engine`] promises. Each case runs on both databases.

mod append;
mod applications;
mod claim;
mod leases;
mod outbox;
mod overview;
mod record;
mod route;
mod signals;
mod unreadable;
