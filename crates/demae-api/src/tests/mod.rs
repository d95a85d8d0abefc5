//! The router as its callers see it.

mod auth;
mod customers;
mod document;
mod events;
mod fixture;
mod problems;
mod repetition;
mod walk;
mod webhooks;
