//! Proves the first promise from outside: an event whose write was acknowledged reaches its endpoints, whatever happens
//! to the process, its database or the line between them.
//!
//! The real binary runs as a child under the load of several clients ([`load`], or [`turns`] where it is asked how long
//! something stands still). What they tried, what was acknowledged
//! and what arrived is kept in one [`ledger`], which is what the tests judge by. The disasters:
//!
//! - [`kills`]: SIGKILL at random moments, on both stores;
//! - [`outage`]: the database crashes, the line to it breaks or goes silent;
//! - [`frozen`]: a process stops in the middle of its work and comes back after it was taken for dead;
//! - [`roles`]: processes of one role each end one after the other, of their own will and not.
//!
//! Every wait is for something that happens, with one exception: how long the load runs between two disasters is drawn
//! at random, because the moment is what is being tried. The seed is printed; `DEMAE_CAMPAIGN_SEED` sets it and
//! `DEMAE_CAMPAIGN_KILLS` the number of kills (30 if unset).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "../support/api.rs"]
mod api;
mod frozen;
mod kills;
mod ledger;
mod load;
mod outage;
mod roles;
mod server;
mod turns;
